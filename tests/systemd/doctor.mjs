// `perch doctor` beside the running service.

import { examined, onlyTurnIsAway, told } from "../guest/doctor.mjs";
import { check } from "../guest/suite.mjs";

/** @returns {import("../guest/suite.mjs").Case[]} */
export const doctor = (secrets) => [
  {
    name: "perch doctor as root",
    holds: "beside the running service: it finds what is away and no more, uses the service's credentials and names none, and disturbs nothing",
    run: async (guest) => {
      await guest.says(/^live as /);
      const [process, restarts] = [await guest.pid(), await guest.restarts()];
      const mark = await guest.mark();
      const away = await examined(guest);
      onlyTurnIsAway(away);
      const [lobby] = away.of("lobby");
      check(lobby.level === "ok" && /takes tokens for "porch"/.test(lobby.what), told([lobby]));
      const [daemon] = away.of("daemon");
      check(daemon.level === "ok" && daemon.what.startsWith(`pid ${process} serves`), told([daemon]));
      check((await guest.pid()) === process && (await guest.restarts()) === restarts, "the daemon was restarted");
      for (const event of ["line-lost", "camera-lost"]) {
        check((await guest.journal(`EVENT=${event}`, mark)).length === 0, `the journal has ${event}`);
      }

      // The same without the servers that nobody plays.
      const well = await guest.withSettings("[ice]\nservers = []\n", async () => {
        await guest.becomes("active", 60);
        await guest.says(/^live as /);
        return examined(guest);
      });
      check(well.code === 0, `it ends with ${well.code}: ${told(well.faults)}`);

      for (const printed of [away.printed, well.printed]) {
        check(secrets.every((secret) => !printed.includes(secret)), "it prints a secret");
        check(!/eyJ[\w-]+\.eyJ/.test(printed), "it prints a token");
      }
      return `1 with both TURN servers away, 0 without them; "${lobby.what}"; "${daemon.what}"`;
    },
  },
];
