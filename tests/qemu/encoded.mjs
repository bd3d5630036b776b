// Cameras that give encoded pictures, played by v4l2loopback and a program that fills it. It says 30 frames per second of
// whatever it is filled with; here that is fewer, as machine and picture are both emulated.

import { check } from "../guest/suite.mjs";

/** v4l2sink takes caps that say all that it asks for; what jpegparse leaves out is put back. */
const COLOURS = "colorimetry=(string)2:4:7:1";
const PICTURE = `videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=180,framerate=10/1,${COLOURS}`;
const CAMERAS = {
  h264: {
    device: "/dev/video20",
    fill: `x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! video/x-h264,profile=constrained-baseline ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au`,
  },
  mjpeg: { device: "/dev/video21", fill: `jpegenc ! jpegparse ! capssetter caps=image/jpeg,${COLOURS}` },
};

/** Seconds that a viewer watches. */
const WATCHES = 20;

/** Lets `act` happen while a camera is there and filled. */
async function played(guest, name, act) {
  const { device, fill } = CAMERAS[name];
  const numbers = Object.values(CAMERAS).map((camera) => /\d+$/.exec(camera.device)[0]);
  await guest.run(`modprobe v4l2loopback devices=${numbers.length} video_nr=${numbers} card_label=${Object.keys(CAMERAS)} exclusive_caps=${numbers.map(() => 1)}`, 60);
  const words = `${PICTURE} ! ${fill} ! v4l2sink device=${device}`.split(" ").map((word) => `'${word}'`).join(" ");
  await guest.run(`systemd-run --quiet --collect --unit=camera-${name} gst-launch-1.0 -q ${words}`);
  try {
    await guest.until(`the ${name} camera`, 60, async () => (await guest.attempt(`v4l2-ctl -d ${device} --list-formats | grep -q "'.*'"`)).code === 0, () => guest.run(`journalctl -u camera-${name} -o cat`));
    return await act(device);
  } finally {
    await guest.attempt(`systemctl stop camera-${name}`);
  }
}

/** What `perch devices` says of a camera: the lines below its name. */
async function listed(guest, device) {
  const lines = (await guest.run("perch devices", 60)).split("\n");
  const at = lines.findIndex((line) => line.includes(`${device} `));
  check(at >= 0, `it does not list ${device}: ${lines}`);
  const modes = lines.slice(at + 1);
  const end = modes.findIndex((line) => !line.startsWith("    "));
  return modes.slice(0, end < 0 ? undefined : end).map((line) => line.trim()).join("; ");
}

/** Lets a viewer watch the camera by this profile. */
export function watched(guest, { device, profile, encoder, more = "" }) {
  return guest.withSettings(`[camera]\nprofile = "${profile}"\ndevice = "${device}"\n${more}`, async () => {
    // The process that is restarted may still answer.
    const camera = await guest.until(`${device} to be live`, 60, async () => {
      const { code, out } = await guest.attempt("perch status --json");
      const told = code === 0 ? JSON.parse(out).camera : {};
      return told.state === "live" && told.device === device && told;
    });
    check(camera.profile === profile && camera.encoder === encoder, JSON.stringify(camera));
    const arrival = await guest.mark();
    const { failed, frames, viewers } = await (await guest.viewer(WATCHES)).report();
    check(failed === 0 && frames > WATCHES / 2, `${failed} failed: ${viewers[0].error}; ${frames} frames`);
    // Otherwise they may be the slate's.
    check((await guest.journal("-u perch EVENT=camera-lost", arrival)).length === 0, "the camera was lost meanwhile");
    return `${frames} frames in ${WATCHES} s, encoder: ${encoder}`;
  });
}

/** @type {import("../guest/suite.mjs").Case[]} */
export const encoded = [
  {
    name: "a camera that gives H.264",
    holds: "`perch devices` lists it with its mode; profile h264 sends a viewer its picture as it is",
    run: (guest) =>
      played(guest, "h264", async (device) => {
        const modes = await listed(guest, device);
        check(/^video\/x-h264 320×180 at 30 fps$/.test(modes), modes);
        const seen = await watched(guest, { device, profile: "h264", encoder: "the camera's own" });
        return `${device}: ${modes}; ${seen}`;
      }),
  },
  {
    name: "a camera that gives MJPEG",
    holds: "`perch devices` lists it with its mode; a viewer gets its picture, encoded anew",
    run: (guest) =>
      played(guest, "mjpeg", async (device) => {
        const modes = await listed(guest, device);
        check(/^image\/jpeg 320×180 at 30 fps$/.test(modes), modes);
        const seen = await watched(guest, { device, profile: "v4l2", encoder: "x264" });
        return `${device}: ${modes}; ${seen}`;
      }),
  },
];
