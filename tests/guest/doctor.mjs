// `perch doctor` in a guest, as root.

import { check } from "./suite.mjs";

/** Its exit code, its findings, and all that it printed: once as a text for people, once as JSON. */
export async function examined(guest) {
  const text = await guest.attempt("perch doctor");
  // libcamera says on standard error what it sees.
  const json = await guest.attempt("perch doctor --json 2>/dev/null");
  check(json.code === text.code, `it ends with ${json.code} with --json, with ${text.code} without`);
  const { faults, findings } = JSON.parse(json.out);
  check(json.code === (faults > 0 ? 1 : 0), `it ends with ${json.code} and finds ${faults} faults`);
  return {
    code: json.code,
    printed: text.out + json.out,
    /** What it found of a check. */
    of: (name) => findings.filter(({ check: of }) => of === name),
    faults: findings.filter(({ level }) => level === "fault"),
  };
}

/** Findings in a line. */
export const told = (findings) => findings.map(({ check: of, level, what }) => `${level} ${of}: ${what}`).join("; ");

/** Its faults are those of the settings' two TURN servers, which nobody plays. */
export function onlyTurnIsAway({ code, faults }) {
  check(code === 1 && faults.length === 2 && faults.every(({ check: of }) => of === "ice"), `it ends with ${code}: ${told(faults)}`);
}
