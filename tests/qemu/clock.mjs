// A board without a battery for its clock: its time lies until somebody sets it.

import { check } from "../guest/suite.mjs";

/** @type {import("../guest/suite.mjs").Case[]} */
export const clock = [
  {
    name: "a wrong clock and no camera at boot",
    holds: "the service waits for both, says so, and is not restarted",
    run: async (guest) => {
      // A clock of 1970 is what the board has; systemd makes it the day on which it was built itself.
      const day = await guest.run("date -u +%F");
      check(Date.now() - Date.parse(day) > 2 * 24 * 3600 * 1000, `the guest's day is ${day}`);
      const sentence = await guest.says(/no line to the lobby \(.*no camera/, 60);
      check((await guest.restarts()) === 0, `${await guest.restarts()} restarts`);
      const { ActiveState } = await guest.show("perch", "ActiveState");
      check(ActiveState === "activating", ActiveState);
      return `the guest's day is ${day}: activating, "${sentence}"`;
    },
  },
  {
    name: "the clock is set",
    holds: "the same process goes live by itself",
    run: async (guest) => {
      const before = await guest.pid();
      await guest.run(`date -u -s @${Math.floor(Date.now() / 1000)}`);
      const began = performance.now();
      await guest.becomes("active", 60);
      const took = ((performance.now() - began) / 1000).toFixed(0);
      check((await guest.pid()) === before && (await guest.restarts()) === 0, "it is another process");
      const sentence = await guest.says(/^no camera/, 30);
      return `live in the lobby after ${took} s, still without a camera: "${sentence}"`;
    },
  },
];
