// Starting, being live, and stopping, as systemd and its journal tell of it.

import { check } from "../guest/suite.mjs";
import { COUNTED, startOf } from "../guest/unit.mjs";

const STARTS = 7;

/** What systemd heard from the daemon, which it only tells while it debugs. */
async function told(guest, after) {
  const entries = await guest.journal("_PID=1 -g 'Got notification message'", after);
  return entries.map(({ MESSAGE }) => /\((.*)\)$/s.exec(MESSAGE)?.[1] ?? "").flatMap((text) => text.split(", "));
}

/** @type {import("../guest/suite.mjs").Case[]} */
export const life = [
  {
    name: "boot without a lobby",
    holds: "the service waits and says for what; nothing else waits for it",
    run: async (guest) => {
      const sentence = await guest.says(/lobby/i);
      const { ActiveState } = await guest.show("perch", "ActiveState");
      check(ActiveState === "activating", `perch.service is ${ActiveState} without a lobby`);
      const { ActiveState: target } = await guest.show("multi-user.target", "ActiveState");
      check(target === "active", `multi-user.target is ${target}`);
      return `activating: "${sentence}"; multi-user.target active`;
    },
  },
  {
    name: "READY with the lobby",
    holds: "`systemctl start` waits until it is live",
    run: async (guest) => {
      await guest.run("systemd-analyze log-level debug");
      const before = await guest.mark();
      await guest.run("systemctl start lobby && timeout 90 systemctl start perch", 100);
      const { ActiveState, SubState } = await guest.show("perch", "ActiveState", "SubState");
      check(`${ActiveState} ${SubState}` === "active running", `start came back with ${ActiveState} ${SubState}`);
      check((await told(guest, before)).includes("READY=1"), "systemd heard no READY=1");
      return `READY=1, active; "${await guest.says(/live as 'Porch', 0 viewers/)}"`;
    },
  },
  {
    name: "a picture through the sandbox",
    holds: "a viewer gets frames from the hardened daemon; STATUS counts it",
    run: async (guest) => {
      const viewer = await guest.viewer(5);
      const sentence = await guest.says(/live as 'Porch', 1 viewer\b/);
      const { failed, frames, lost_packets: lost, first_keyframe_ms: first } = await viewer.report();
      check(failed === 0 && frames > 30, `${failed} failed, ${frames} frames`);
      await guest.says(/, 0 viewers/);
      return `${frames} frames in 5 s, ${lost} packets lost, first picture after ${Math.round(first.median)} ms; "${sentence}"`;
    },
  },
  {
    name: "journal fields",
    holds: "`journalctl EVENT=viewer-live` and VIEWER=, STREAM=, REASON= find what they name",
    run: async (guest) => {
      const before = await guest.mark();
      await (await guest.viewer(1)).report();
      const ended = await guest.entry("EVENT=viewer-ended", before);
      const [live] = await guest.journal("EVENT=viewer-live", before);
      check(live?.SYSLOG_IDENTIFIER === "perch" && live.MESSAGE, "no entry for EVENT=viewer-live");
      check(ended.VIEWER && ended.VIEWER === live.VIEWER, `VIEWER is ${live.VIEWER} and then ${ended.VIEWER}`);
      check(ended.STREAM && ended.REASON, `STREAM is ${ended.STREAM}, REASON is ${ended.REASON}`);
      const same = await guest.journal(`VIEWER=${ended.VIEWER} EVENT=viewer-ended REASON=${ended.REASON}`, before);
      check(same.length === 1, `${same.length} entries for VIEWER, EVENT and REASON together`);
      return `EVENT=viewer-live TOOK_MS=${live.TOOK_MS}; EVENT=viewer-ended REASON=${ended.REASON}; VIEWER, STREAM the same`;
    },
  },
  {
    name: "a healthy minute",
    holds: "logs nothing",
    run: async (guest) => {
      const arrival = await guest.mark();
      const viewer = await guest.viewer(64);
      await guest.entry("EVENT=viewer-live", arrival);
      const before = await guest.mark();
      const { frames, longest_gap_ms: gap } = await viewer.report();
      const entries = (await guest.journal("_SYSTEMD_UNIT=perch.service", before)).filter(({ EVENT }) => EVENT !== "viewer-ended");
      check(entries.length === 0, `${entries.length} lines, such as: ${entries[0]?.MESSAGE}`);
      check(frames > 600, `and only ${frames} frames`);
      return `0 lines in 64 s; the viewer's longest gap was ${Math.round(gap)} ms in ${frames} frames`;
    },
  },
  {
    name: "the start",
    // Far more than it takes: what it takes on a machine that has other things to do is for the reader.
    holds: "with the test picture it is live soon after it is started: in seconds, whatever else the machine does",
    run: (guest) =>
      guest.withDropIn(COUNTED, async () => {
        const starts = [];
        for (let n = 0; n < STARTS; n += 1) {
          await guest.run("systemctl restart perch", 60);
          starts.push(await startOf(guest));
        }
        const sorted = (what) => starts.map((start) => start[what]).sort((one, other) => one - other);
        const range = (values) => `median ${values[(STARTS - 1) / 2].toFixed(2)}, from ${values[0].toFixed(2)} to ${values.at(-1).toFixed(2)}`;
        const [wall, cpu] = [sorted("wall"), sorted("cpu")];
        check(wall.at(-1) < 15, `the slowest of ${STARTS} took ${wall.at(-1)} s`);
        return `${STARTS} starts: live after ${range(wall)} s; CPU until then ${range(cpu)} s`;
      }),
  },
  {
    name: "stop",
    holds: "STOPPING, a clean exit, well within TimeoutStopSec",
    run: async (guest) => {
      const viewer = await guest.viewer(30);
      await guest.says(/, 1 viewer\b/);
      const before = await guest.mark();
      const began = performance.now();
      await guest.run("systemctl stop perch");
      const took = performance.now() - began;
      const { Result, ExecMainStatus, ExecMainCode } = await guest.show("perch", "Result", "ExecMainStatus", "ExecMainCode");
      check(Result === "success" && ExecMainStatus === "0" && ExecMainCode === "1", `Result=${Result}, status ${ExecMainStatus}, code ${ExecMainCode}`);
      check((await told(guest, before)).includes("STOPPING=1"), "systemd heard no STOPPING=1");
      const { TimeoutStopUSec } = await guest.show("perch", "TimeoutStopUSec");
      check(TimeoutStopUSec === "10s" && took < 10_000, `took ${took} ms of ${TimeoutStopUSec}`);
      await guest.run(`systemctl stop ${viewer.name}; systemd-analyze log-level info; systemctl start perch`, 60);
      return `STOPPING=1, exit 0 after ${(took / 1000).toFixed(1)} s of ${TimeoutStopUSec}, with a viewer`;
    },
  },
  {
    name: "a wrong setting",
    holds: "ends with 78 and is not started again; the journal names file, key and remedy",
    run: async (guest) => {
      const before = await guest.mark();
      return guest.withSettings("[camera]\nwidth = 7\n", async () => {
        await guest.becomes("failed");
        const { ExecMainStatus } = await guest.show("perch", "ExecMainStatus");
        check(ExecMainStatus === "78", `ended with ${ExecMainStatus}`);
        check((await guest.restarts()) === 0, "it was started again");
        const lines = await guest.journal("SYSLOG_IDENTIFIER=perch PRIORITY=3", before);
        const said = lines.map(({ MESSAGE }) => MESSAGE).join(" ");
        check(/50-test\.toml.*camera.*width/s.test(said), `the journal says: ${said}`);
        return `exit 78, 0 restarts: "${said}"`;
      });
    },
  },
];
