// What is asked of the installed unit in more than one guest.

import { check } from "./suite.mjs";

/** The score of `systemd-analyze security` that must not be exceeded. */
export const EXPOSURE = 2.0;

/** What systemd hands over with LoadCredential=; see install.mjs. */
export const CREDENTIALS = ["lobby-secret", "turn-secret", "turn-password"];

/** systemd's own judgement of the running unit: the score. */
export async function analyzed(guest) {
  const { out } = await guest.attempt("systemd-analyze verify --man=no perch.service 2>&1");
  check(out.trim() === "", `verify says: ${out}`);
  const score = Number(/exposure level for perch\.service: ([\d.]+)/.exec(await guest.run("systemd-analyze security --no-pager perch"))[1]);
  check(score <= EXPOSURE, `security scores ${score}`);
  return score;
}

/** The secrets' files are closed to the daemon, and it is live with what systemd hands it of them. */
export async function usesCredentials(guest) {
  for (const name of CREDENTIALS) {
    const { code } = await guest.attempt(`runuser -u perch -- cat /etc/perch/${name}`);
    check(code !== 0, `the perch user can read /etc/perch/${name}`);
    const handed = await guest.attempt(`runuser -u perch -- cat /run/credentials/perch.service/${name}`);
    check(handed.code === 0, `the perch user cannot read the credential ${name}: ${handed.out}`);
    const other = await guest.attempt(`runuser -u nobody -- cat /run/credentials/perch.service/${name}`);
    check(other.code !== 0, `anybody can read the credential ${name}`);
  }
  await guest.says(/^live as /);
}

/** A drop-in with which systemd keeps what the daemon had used of the processor by the time it was ready. */
export const COUNTED = "[Service]\nExecStartPost=+sh -c 'cat /proc/$MAINPID/stat >/run/perch-ready'\n";

/** Of the daemon's last start, under that drop-in: seconds until it was live, and the processor's seconds that it used for that. */
export async function startOf(guest) {
  const { ExecMainStartTimestampMonotonic: began } = await guest.show("perch", "ExecMainStartTimestampMonotonic");
  const [live] = await guest.journal(`_PID=${await guest.pid()} EVENT=line-live`);
  check(live, "the journal does not say when it went live");
  const [ticks, second] = (await guest.run("cut -d ' ' -f 14,15 /run/perch-ready; getconf CLK_TCK")).split("\n");
  const used = ticks.split(" ").reduce((sum, part) => sum + Number(part), 0);
  return { wall: (Number(live.__MONOTONIC_TIMESTAMP) - Number(began)) / 1e6, cpu: used / Number(second) };
}
