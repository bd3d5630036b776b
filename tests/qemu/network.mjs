// Delay and loss between daemon and viewer, which share the guest's loopback path.

import { check } from "../guest/suite.mjs";

const SECONDS = 15;

/** The test's viewer gives up at the first lost connection, where a page would join again. */
async function watch(guest, tries) {
  for (let attempt = 1; ; attempt += 1) {
    const report = await (await guest.viewer(SECONDS)).report();
    if (report.failed === 0) return { ...report, attempt };
    check(attempt < tries, `the viewer failed ${attempt} times: ${report.viewers[0].error}`);
  }
}

const impaired = ({ name, holds, netem, least, tries = 1 }) => ({
  name,
  holds,
  run: async (guest) => {
    await guest.says(/^live as/, 60);
    await guest.run(`tc qdisc add dev lo root netem ${netem}`, 60);
    try {
      const { attempt, frames, lost_packets: lost, longest_gap_ms: gap, plis, viewers } = await watch(guest, tries);
      check(frames >= least, `only ${frames} frames`);
      const dropped = Number(/dropped (\d+)/.exec(await guest.run("tc -s qdisc show dev lo"))[1]);
      check(dropped > 0 === netem.startsWith("loss"), `netem dropped ${dropped} packets`);
      return `${frames} frames in ${SECONDS} s, ${dropped} packets dropped, longest gap ${(gap / 1000).toFixed(1)} s, ${lost} never came, ${plis} PLIs, joined in ${(viewers[0].first_keyframe_ms / 1000).toFixed(1)} s${tries > 1 ? `, attempt ${attempt} of ${tries}` : ""}`;
    } finally {
      await guest.run("tc qdisc del dev lo root");
    }
  },
});

/** @type {import("../guest/suite.mjs").Case[]} */
export const network = [
  impaired({ name: "netem: nothing", holds: "what the others are measured against", netem: "delay 0ms", least: 60 }),
  impaired({ name: "netem: 100 ms delay", holds: "a viewer joins and watches", netem: "delay 100ms", least: 60 }),
  impaired({ name: "netem: 5 % loss", holds: "a viewer joins and watches", netem: "loss 5%", least: 50 }),
  impaired({ name: "netem: 20 % loss", holds: "a viewer joins, perhaps not at once, and keeps getting pictures", netem: "loss 20%", least: 20, tries: 3 }),
];
