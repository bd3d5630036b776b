// The watchdog: it ends a daemon that hangs, and leaves one alone that knows what it waits for.

import { check } from "../guest/suite.mjs";

/** Short, so that the suite is; the installed unit's own time is half a minute. */
const WATCHDOG = 4;
const SHORT = `[Service]\nWatchdogSec=${WATCHDOG}\nRestartSec=100ms\n`;
const GATES = "/run/faultgate";

const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;

/** Waits until systemd has started the daemon afresh after the watchdog, and it is live again. */
async function restarted(guest, before, mark, patience) {
  await guest.until("the watchdog's restart", patience, async () => {
    const pid = await guest.pid();
    return pid !== 0 && pid !== before;
  });
  const [said] = await guest.journal("_PID=1 -u perch -g watchdog", mark);
  check(said, "systemd restarted it, but not for the watchdog");
  return said.MESSAGE;
}

/** A viewer gets a picture of this daemon. */
async function picture(guest) {
  const { failed, frames } = await (await guest.viewer(2)).report();
  check(failed === 0 && frames > 10, `${failed} viewers failed, ${frames} frames`);
}

/** @type {import("../guest/suite.mjs").Case[]} */
export const care = [
  {
    name: "watchdog: the process stands still",
    holds: "a daemon that SIGSTOP froze is ended and started again; a viewer gets a picture again",
    run: (guest) =>
      guest.withDropIn(SHORT, async () => {
        await guest.becomes("active", 60);
        const { WatchdogUSec } = await guest.show("perch", "WatchdogUSec");
        check(WatchdogUSec === `${WATCHDOG}s`, `WatchdogSec is ${WatchdogUSec}`);
        const [before, mark, began] = [await guest.pid(), await guest.mark(), performance.now()];
        await guest.run(`kill -STOP ${before}`);
        const said = await restarted(guest, before, mark, 60);
        const took = seconds(began);
        await guest.becomes("active", 60);
        check((await guest.restarts()) === 1, `${await guest.restarts()} restarts`);
        await picture(guest);
        return `another process after ${took} with WatchdogSec=${WATCHDOG}: "${said}"`;
      }),
  },
  {
    name: "watchdog: the encoder hangs",
    holds: "a pipeline that cannot even be stopped ends the daemon, sooner than the installed WatchdogSec; a viewer gets a picture again",
    run: (guest) =>
      guest.withDropIn(`[Service]\nEnvironment=FAULTGATE_DIR=${GATES} PERCH__CAMERA__PROFILE=faulty\nRestartSec=100ms\n`, async () => {
        await guest.run(`mkdir -p ${GATES} && rm -f ${GATES}/*`);
        await guest.becomes("active", 60);
        await picture(guest);
        const [before, mark, began] = [await guest.pid(), await guest.mark(), performance.now()];
        await guest.run(`echo hang >${GATES}/encoder`);
        const sentence = await guest.says(/encoder/, 60);
        const said = await restarted(guest, before, mark, 90);
        const took = seconds(began);
        await guest.run(`rm ${GATES}/encoder`);
        await picture(guest);
        return `"${sentence}"; another process after ${took}: "${said}"`;
      }),
  },
  {
    name: "no lobby at the start",
    holds: "a start-up that waits for the lobby outlives TimeoutStartSec; one that a frozen daemon makes is ended and begun again",
    run: async (guest) => {
      await guest.run("systemctl stop lobby");
      try {
        return await guest.withDropIn(`${SHORT}TimeoutStartSec=${WATCHDOG}\n`, async () => {
          await guest.becomes("activating", 60);
          await guest.says(/no line to the lobby/, 60);
          const [before, mark] = [await guest.pid(), await guest.mark()];
          const uptime = async () => Number((await guest.run("cat /proc/uptime")).split(" ")[0]);
          const from = await uptime();
          await guest.until("three times TimeoutStartSec", 10 * WATCHDOG, async () => (await uptime()) > from + 3 * WATCHDOG);
          check((await guest.pid()) === before, "it was ended while it waited for the lobby");
          const began = performance.now();
          await guest.run(`kill -STOP ${before}`);
          await guest.until("another process", 60, async () => {
            const pid = await guest.pid();
            return pid !== 0 && pid !== before;
          });
          const took = seconds(began);
          const [said] = await guest.journal("_PID=1 -u perch -g 'timed out'", mark);
          check(said, "systemd restarted it, but not for its start-up");
          await guest.run("systemctl start lobby");
          await guest.becomes("active", 90);
          return `waited three times TimeoutStartSec=${WATCHDOG}; frozen, another process after ${took}: "${said.MESSAGE}"`;
        });
      } finally {
        await guest.run("systemctl start lobby");
      }
    },
  },
  {
    name: "no watchdog: the camera is missing",
    holds: "a daemon that waits for its camera is not restarted, and says what it waits for",
    run: (guest) =>
      guest.withDropIn(`${SHORT}Environment=PERCH__CAMERA__PROFILE=v4l2 PERCH__CAMERA__DEVICE=/dev/video9\n`, async () => {
        await guest.becomes("active", 60);
        const sentence = await guest.says(/\/dev\/video9/, 60);
        const { ActiveEnterTimestampMonotonic: entered } = await guest.show("perch", "ActiveEnterTimestampMonotonic");
        // The time itself is what is tested: three times as long as a daemon that hangs would live.
        const periods = async () => (Number((await guest.run("cat /proc/uptime")).split(" ")[0]) * 1e6 - Number(entered)) / 1e6 / WATCHDOG;
        await guest.until("three watchdog times", 10 * WATCHDOG, async () => (await periods()) > 3.5);
        check((await guest.restarts()) === 0, `${await guest.restarts()} restarts`);
        const { ActiveState } = await guest.show("perch", "ActiveState");
        check(ActiveState === "active", ActiveState);
        return `0 restarts in ${(await periods()).toFixed(1)} times WatchdogSec=${WATCHDOG}: "${sentence}"`;
      }),
  },
];
