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
