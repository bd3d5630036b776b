// A camera that comes, goes, comes back, breaks, and is somebody else's.

import { check } from "../guest/suite.mjs";

const DRIVER = "/sys/bus/platform/drivers/vivid";

const plug = (guest) => guest.run(`echo vivid.0 >${DRIVER}/bind`);
const unplug = (guest) => guest.run(`echo vivid.0 >${DRIVER}/unbind`);

/** The camera's node: a camera that comes back while the old node is still open gets another number. */
export const node = (guest) => guest.run("ls /dev/video*");

/** Presses one of vivid's buttons. */
const press = async (guest, control) => guest.run(`v4l2-ctl -d ${await node(guest)} --set-ctrl=${control}=1`);

/** Lets `act` happen while another program streams from the camera. Nobody else may have it open. */
export async function stolen(guest, act) {
  const camera = await node(guest);
  await guest.run(`systemd-run --quiet --collect --unit=thief v4l2-ctl -d ${camera} --stream-mmap --stream-to=/dev/null`);
  try {
    await guest.until("the thief to stream", 30, async () => (await guest.attempt(`v4l2-ctl -d ${camera} --stream-mmap --stream-count=1 --stream-to=/dev/null 2>&1 | grep -q busy`)).code === 0);
    return await act();
  } finally {
    await guest.run("systemctl stop thief");
  }
}

/** Lets `act` happen while a viewer watches, waits until the camera is back, and tells what the viewer saw. */
async function watched(guest, seconds, act) {
  const [process, restarts] = [await guest.pid(), await guest.restarts()];
  const arrival = await guest.mark();
  const viewer = await guest.viewer(seconds);
  await guest.entry("EVENT=viewer-live", arrival, 30);
  const mark = await guest.mark();
  await act(mark);
  const back = await guest.entry("EVENT=camera-back", mark, 60);
  const report = await viewer.report();
  const [lost] = await guest.journal("EVENT=camera-lost", mark);
  const ends = await guest.journal("EVENT=viewer-ended", mark);
  check(report.failed === 0, `the viewer failed: ${report.viewers[0].error}`);
  check(ends.length === 1 && ends[0].REASON === "left", `the viewer's branch ended by ${ends.map(({ REASON }) => REASON)}`);
  check((await guest.journal("EVENT=viewer-rebuilt", mark)).length === 0, "the viewer needed another connection");
  check((await guest.pid()) === process && (await guest.restarts()) === restarts, "the daemon was restarted");
  const watchdog = await guest.journal("_PID=1 -u perch -g Watchdog", arrival);
  check(watchdog.length === 0, `the watchdog: ${watchdog[0]?.MESSAGE}`);
  // A gap without an end counts as well: it is at least as long as the viewer stayed with the camera back.
  const stayed = (Number(ends[0].__MONOTONIC_TIMESTAMP) - Number(back.__MONOTONIC_TIMESTAMP)) / 1e3;
  check(stayed > 5000, "the viewer left before it could see that the camera was back: it watches too short a time");
  check(report.longest_gap_ms < Math.max(stayed, 5000), `its longest gap is ${report.longest_gap_ms} ms, and it stayed ${stayed} ms`);
  // The camera gives 10 a second, and the slate fewer.
  const { frames, viewers: [{ seconds: watchedFor }] } = report;
  check(frames < 15 * watchedFor, `${frames} frames in ${watchedFor} s: pictures were repeated to make up for the gap`);
  return { report, lost, back };
}

const told = ({ report, lost, back }) =>
  `lost (${lost?.REASON}), back after ${(Number(back.AFTER_MS) / 1000).toFixed(1)} s; the same connection: ${report.frames} frames with the slate's, longest gap ${(report.longest_gap_ms / 1000).toFixed(1)} s`;

/** @type {import("../guest/suite.mjs").Case[]} */
export const camera = [
  {
    name: "a camera that appears after boot",
    holds: "is taken by the same process, under the whole sandbox; a viewer gets its picture",
    run: async (guest) => {
      const before = await guest.pid();
      check((await guest.attempt("ls /dev/video0")).code !== 0, "there is a camera already");
      const mark = await guest.mark();
      await guest.run("modprobe vivid n_devs=1 node_types=0x1", 60);
      const { MESSAGE } = await guest.entry("-g ^camera EVENT=camera-live EVENT=camera-back", mark, 60);
      await guest.says(/^live as/, 60);
      const { failed, frames, viewers } = await (await guest.viewer(8)).report();
      check(failed === 0 && frames > 20, `${failed} viewers failed: ${viewers[0].error}; ${frames} frames`);
      check((await guest.pid()) === before && (await guest.restarts()) === 0, "it is another process");
      return `"${MESSAGE}"; ${frames} frames in 8 s; 0 restarts; "${await guest.says(/^live as/)}"`;
    },
  },
  {
    name: "unplugged and plugged in again",
    holds: "the same viewer sees the picture again on the same connection; no restart, no watchdog",
    run: async (guest) => {
      let sentence;
      const seen = await watched(guest, 50, async () => {
        await unplug(guest);
        sentence = await guest.says(/no camera/, 30);
        await plug(guest);
      });
      return `${told(seen)}; "${sentence}"`;
    },
  },
  {
    name: "vivid's disconnect",
    holds: "the same, for a device that is pulled while it streams and needs its driver again",
    run: async (guest) => {
      const seen = await watched(guest, 50, async (mark) => {
        await press(guest, "disconnect");
        await guest.entry("EVENT=camera-lost", mark, 30);
        await unplug(guest);
        await plug(guest);
      });
      return told(seen);
    },
  },
  {
    name: "a fatal streaming error",
    holds: "the camera is restarted for the same viewer",
    run: async (guest) => {
      const seen = await watched(guest, 50, () => press(guest, "inject_fatal_streaming_error"));
      return told(seen);
    },
  },
  {
    name: "a camera that another program holds",
    holds: "is waited for, by name, and taken when it is free",
    run: async (guest) => {
      await guest.run("systemctl stop perch");
      const sentence = await stolen(guest, async () => {
        const mark = await guest.mark();
        await guest.run("systemctl start --no-block perch");
        const waiting = await guest.entry("EVENT=camera-waiting", mark, 60);
        check(waiting.REASON === "busy", `it waits for: ${waiting.REASON}, ${waiting.WHY}`);
        return guest.says(/another program/, 30);
      });
      await guest.says(/^live as/, 60);
      check((await guest.restarts()) === 0, `${await guest.restarts()} restarts`);
      return `"${sentence}"; live once it was free, 0 restarts`;
    },
  },
];
