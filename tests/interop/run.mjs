// Runs the suite, one file after the other, and prints its figures: `node run.mjs [FILE…]`.
//
// PERCH_BIN names the binary (target/debug/perch when unset), CHROMIUM the browser.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";

import { BINARY, FIGURES } from "./paths.mjs";

const HERE = import.meta.dirname;

if (!existsSync(BINARY)) {
  console.error(`${BINARY} is missing: run \`cargo build\` first, or name the binary in PERCH_BIN`);
  process.exit(2);
}

const asked = process.argv.slice(2).map((file) => path.resolve(file));
const files = asked.length > 0 ? asked : readdirSync(HERE).filter((f) => f.endsWith(".test.mjs")).sort().map((f) => path.join(HERE, f));
rmSync(FIGURES, { force: true });
const run = spawnSync(process.execPath, ["--test", "--test-concurrency=1", "--test-reporter=spec", ...files], { stdio: "inherit" });

if (existsSync(FIGURES)) {
  console.log("\nFigures");
  for (const line of readFileSync(FIGURES, "utf8").trim().split("\n")) {
    const { test, what, value, unit } = JSON.parse(line);
    console.log(`${String(value).padStart(9)} ${unit.padEnd(4)} ${what} (${test})`);
  }
}
process.exit(run.status ?? 1);
