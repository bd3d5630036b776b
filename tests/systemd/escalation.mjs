// Starts without end by default; a reboot as the last resort where the owner asks for it.

import { check } from "../guest/suite.mjs";

const KILLS = 12;
/** What systemd-nspawn ends with when its guest reboots. */
const REBOOTS = 133;

/** Kills the daemon and waits until systemd has started another one, or gives up. */
async function kill(guest) {
  const before = await guest.pid();
  await guest.run("systemctl kill --kill-who=main --signal=KILL perch");
  await guest.until("another start", 30, async () => {
    const { MainPID, ActiveState } = await guest.show("perch", "MainPID", "ActiveState");
    return ActiveState === "failed" || (MainPID !== "0" && Number(MainPID) !== before);
  });
}

/** @returns {import("../guest/suite.mjs").Case[]} */
export const escalation = (container) => [
  {
    name: "a daemon that keeps dying",
    holds: "is started again without end, by default",
    run: async (guest) => {
      return guest.withDropIn("[Service]\nRestartSec=100ms\n", async () => {
        await guest.becomes("active", 60);
        for (let n = 0; n < KILLS; n += 1) await kill(guest);
        await guest.becomes("active", 60);
        const restarts = await guest.restarts();
        check(restarts >= KILLS, `only ${restarts} restarts`);
        return `killed ${KILLS} times, NRestarts=${restarts}, active`;
      });
    },
  },
  {
    name: "the reboot drop-in",
    holds: "reboots the machine after its number of failed starts, and not before",
    run: async (guest) => {
      await guest.run(`
        mkdir -p /etc/systemd/system/perch.service.d
        cp /usr/share/perch/systemd/reboot.conf /etc/systemd/system/perch.service.d/
        printf '[Service]\\nRestartSec=100ms\\n' >/etc/systemd/system/perch.service.d/quick.conf
        systemctl daemon-reload && systemctl restart perch`, 60);
      const { StartLimitBurst, StartLimitAction, StartLimitIntervalUSec } = await guest.show("perch", "StartLimitBurst", "StartLimitAction", "StartLimitIntervalUSec");
      check(StartLimitAction === "reboot", `StartLimitAction is ${StartLimitAction}`);
      const allowed = Number(StartLimitBurst);
      // The start above was the first of those that count.
      for (let n = 1; n < allowed; n += 1) await kill(guest);
      await guest.becomes("active", 60);
      await guest.run("systemctl kill --kill-who=main --signal=KILL perch");
      const code = await container.ended(60);
      check(code === REBOOTS, `the container ended with ${code}`);
      return `${allowed} starts within ${StartLimitIntervalUSec} allowed; instead of the next one the machine rebooted`;
    },
  },
];
