// Runs cases one after the other, each with an observable that can fail, and prints a table.

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";

// What is to be done at the exit is also done for a run that is broken off.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));

/**
 * @typedef {object} Case
 * @property {string} name
 * @property {string} holds what must hold
 * @property {(guest: import("./guest.mjs").Guest) => Promise<string>} run what was seen; throws where it does not hold
 */

/** Fails with `what` unless `holds`. */
export function check(holds, what) {
  if (!holds) throw new Error(what);
}

/**
 * @param {Case[]} cases
 * @param {import("./guest.mjs").Guest} guest
 * @param {(failed: Case, error: Error) => Promise<void>} onFailure
 */
export async function runCases(cases, guest, { only = null, onFailure = async () => {} } = {}) {
  const rows = [];
  for (const one of cases) {
    if (only && !one.name.includes(only)) continue;
    const began = performance.now();
    let seen;
    let good = true;
    try {
      seen = await one.run(guest);
    } catch (error) {
      good = false;
      seen = error.message;
      await onFailure(one, error).catch((also) => console.error(also));
    }
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    rows.push({ ...one, good, seen, seconds });
    console.error(`${good ? "ok  " : "FAIL"} ${one.name} (${seconds} s): ${seen}`);
  }
  return rows;
}

/** The rows as Markdown. */
export function table(rows) {
  const cell = (text) => String(text).split("\n")[0].replaceAll("|", "\\|");
  return [
    "| case | must hold | seen | s |",
    "|---|---|---|---:|",
    ...rows.map(({ name, holds, good, seen, seconds }) => `| ${cell(name)} | ${cell(holds)} | ${good ? "" : "**FAILED** "}${cell(seen)} | ${seconds} |`),
  ].join("\n");
}

/** What the table was made with. */
export function circumstances(command, more) {
  const model = /^model name\s*: (.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? os.arch();
  return `Made by \`${command}\` on ${model}, ${os.cpus().length} cores, Linux ${os.release().split(".").slice(0, 2).join(".")}; ${more}.`;
}

/** Prints the table, keeps it in `file` where asked to and nothing failed, and sets the exit code. */
export function conclude(rows, { title, about, file, more = "" }) {
  const text = `# ${title}\n\n${about}\n\n${table(rows)}\n${more}`;
  console.log(`\n${text}`);
  const failed = rows.filter(({ good }) => !good);
  if (process.argv.includes("--write") && failed.length === 0) writeFileSync(file, text);
  if (failed.length > 0 || rows.length === 0) {
    console.error(`${failed.length} of ${rows.length} failed`);
    process.exitCode = 1;
  }
}

/** Makes or finds the root file system; the directory that holds it. */
export function guestRoot(root, ...options) {
  return execFileSync(`${root}/scripts/guest-root`, options, { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" }).trim();
}

/** Makes or finds the kernel modules that Debian's kernel does not have; the tree that they are in. */
export function guestModules(root) {
  return path.join(execFileSync(`${root}/scripts/guest-modules`, { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" }).trim(), "tree");
}
