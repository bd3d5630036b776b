// Drivers of the kernel's that stand for boards' and cameras': an encoder, cameras that encode by themselves, and one that
// libcamera drives.

import { check } from "../guest/suite.mjs";

const SIZE = "width=320,height=180,framerate=10/1";

/** What a camera of this kind sends, as a program that fills v4l2loopback makes it. */
const FEEDS = {
  h264: `x264enc tune=zerolatency speed-preset=ultrafast bframes=0 key-int-max=20 bitrate=300 ! video/x-h264,profile=constrained-baseline ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au`,
  // It says of its colours what the driver has a word for.
  mjpeg: `jpegenc ! jpegparse ! capssetter caps="image/jpeg,colorimetry=(string)2:4:7:1"`,
};

/** Lets `act` happen while a camera of this kind is there as /dev/video20. */
async function filled(guest, kind, act) {
  await guest.run("modprobe v4l2loopback devices=1 video_nr=20 exclusive_caps=1 card_label=Loopback");
  const colours = kind === "mjpeg" ? ",colorimetry=2:4:7:1" : "";
  await guest.run(`systemd-run --quiet --collect --unit=feed gst-launch-1.0 -q videotestsrc is-live=true horizontal-speed=3 \\
    ! 'video/x-raw,format=I420,${SIZE}${colours}' ! ${FEEDS[kind]} ! v4l2sink device=/dev/video20 sync=false`);
  try {
    await guest.until("the camera to give pictures", 60, async () => /Video Capture/.test((await guest.attempt("v4l2-ctl -d /dev/video20 --info | sed -n '/Device Caps/,$p'")).out));
    return await act();
  } finally {
    await guest.run("systemctl stop feed; modprobe -r v4l2loopback", 60);
  }
}

/** What a viewer sees of it with these settings. */
function seen(guest, settings, encoder) {
  return guest.withSettings(settings, async () => {
    await guest.says(/^live as .* [1-9]\d* fps$/, 60);
    const mark = await guest.mark();
    const viewer = await guest.viewer(10);
    const report = await viewer.report();
    check(report.failed === 0, `the viewer failed: ${report.viewers[0].error}`);
    check(report.frames > 40, `${report.frames} frames in 10 s`);
    const status = JSON.parse(await guest.run("perch status --json"));
    check(status.camera.encoder === encoder, `the encoder is ${status.camera.encoder}`);
    const odd = (await guest.journal("-u perch -p warning", mark)).map(({ MESSAGE }) => MESSAGE);
    check(odd.length === 0, `the journal says ${odd}`);
    return `${report.frames} frames in 10 s, encoder ${encoder}`;
  });
}

const camera = (more) => `[camera]\n${more}\nwidth = 320\nheight = 180\nframerate = 10\n`;

/** Only as an owner's profile: the built-in ones leave to V4L2 what no image processor made. */
const VIMC_PROFILE = `
name = "vimc"
description = "The kernel's virtual media controller, by libcamera"
camera = "libcamera"
like = "libcamera"
[[source]]
media = "video/x-raw"
format = "RGB"
elements = ["libcamerasrc", "videoconvert", "videoscale"]
launch = """
libcamerasrc camera-name={device} ! video/x-raw{capture} ! queue max-size-buffers=2 leaky=downstream
! videoconvert ! videoscale ! video/x-raw,format=I420,width={width},height={height},pixel-aspect-ratio=1/1
"""
`;

/** @type {import("../guest/suite.mjs").Case[]} */
export const drivers = [
  {
    name: "a V4L2 encoder",
    holds: "keyframes and bitrate are commanded on the descriptor that GStreamer's element encodes with; what the driver does not have is refused",
    run: async (guest) => {
      await guest.run("modprobe vicodec");
      try {
        const out = await guest.run("encoder-test --ignored --nocapture --test-threads 1 2>&1", 240);
        check(/3 passed; 0 failed/.test(out), out.slice(-2000));
        return out.split("\n").filter((line) => /^(frames|bytes) /.test(line)).join("; ");
      } finally {
        await guest.run("modprobe -r vicodec");
      }
    },
  },
  {
    name: "a camera that gives H.264",
    holds: "is sent as it is, by profile h264",
    run: (guest) => filled(guest, "h264", async () => {
      const told = await guest.run("perch devices", 60);
      check(/video\/x-h264 320×180/.test(told), `perch devices: ${told}`);
      return seen(guest, camera('profile = "h264"\ndevice = "/dev/video20"'), "the camera's own");
    }),
  },
  {
    name: "a camera that gives MJPEG alone",
    holds: "is decoded and encoded anew, by profile v4l2",
    run: (guest) => filled(guest, "mjpeg", () => seen(guest, camera('profile = "v4l2"\ndevice = "/dev/video20"'), "x264")),
  },
  {
    name: "a camera of libcamera's",
    holds: "is found by its name there, beside V4L2's, and gives a picture in the unit's sandbox",
    run: async (guest) => {
      await guest.write("/usr/share/perch/pipelines/vimc.toml", VIMC_PROFILE);
      await guest.run("modprobe vimc && udevadm settle");
      try {
        const told = await guest.run("perch devices", 60);
        const [, name] = told.match(/^ {2}(\S.*?) {2}.*\(libcamera\)$/m) ?? [];
        check(name, `perch devices: ${told}`);
        // What libcamera's pipeline does to be a multiple of six, the caps have to be already.
        return await seen(guest, `[camera]\nprofile = "vimc"\ndevice = "${name}"\nwidth = 480\nheight = 270\nframerate = 10\n`, "x264");
      } finally {
        await guest.run("modprobe -r vimc; rm /usr/share/perch/pipelines/vimc.toml");
      }
    },
  },
];
