// Drivers of the kernel's that stand for a board's: an encoder behind V4L2, and a sensor that libcamera drives.

import { execFileSync } from "node:child_process";
import path from "node:path";

import { ROOT } from "../guest/paths.mjs";
import { check } from "../guest/suite.mjs";

/** Where the tests of Perch's commands to an encoder are in a guest. */
const TESTS = "/usr/local/bin/encoder-tests";

/** Puts the tests, without what only a debugger reads, into a guest's tree. */
export function putTests(tree) {
  const build = ["test", "--locked", "--quiet", "--no-run", "--message-format=json", "--package", "perch", "--test", "encoder"];
  const messages = execFileSync("cargo", build, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], maxBuffer: 1e8 });
  const built = messages.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const { executable } = built.findLast(({ target, executable: file }) => file && target.name === "encoder");
  execFileSync("strip", ["--strip-debug", "-o", path.join(tree, TESTS), executable]);
}

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
      await guest.run("modprobe vicodec && udevadm settle");
      try {
        const { out } = await guest.attempt(`GST_REGISTRY=/run/encoder-tests.bin ${TESTS} --ignored --nocapture --test-threads 1 2>&1`, 120);
        check(/3 passed; 0 failed/.test(out), out.slice(-2000));
        return out.match(/(frames to|bytes of) .*/g).join("; ");
      } finally {
        await guest.run("modprobe -r vicodec");
      }
    },
  },
  {
    name: "a camera of libcamera's",
    // No more than that: Debian 12's libcamera (0.0.3) crashes when its vimc pipeline starts to stream.
    holds: "is found by its name there, beside V4L2's, with the modes that it says it has; a profile for it takes it, and its pipeline can be built",
    run: async (guest) => {
      await guest.write("/usr/share/perch/pipelines/vimc.toml", VIMC_PROFILE);
      await guest.run("modprobe vimc && udevadm settle");
      try {
        const told = await guest.run("perch devices", 60);
        const [, device] = told.match(/^ {2}(\S.*?) {2}.*\(libcamera\)$/m) ?? [];
        check(device && told.includes("(v4l2)"), `perch devices: ${told}`);
        const camera = `[camera]\nprofile = "vimc"\ndevice = "${device}"\nwidth = 480\nheight = 270\nframerate = 10\n`;
        await guest.write("/run/vimc.toml", `[embedded_lobby]\nenabled = true\n${camera}`);
        const picture = (await guest.run("perch check --config /run/vimc.toml", 60)).match(/^picture +(.*)$/m)?.[1];
        check(picture?.includes(`camera ${device}, video/x-raw RGB`), `perch check: ${picture}`);
        return picture;
      } finally {
        await guest.run("modprobe -r vimc; rm /usr/share/perch/pipelines/vimc.toml");
      }
    },
  },
];
