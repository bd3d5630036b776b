// Where things are.

import path from "node:path";

const ROOT = path.resolve(import.meta.dirname, "../..");

/** The program under test. */
export const BINARY = path.resolve(ROOT, process.env.PERCH_BIN ?? "target/debug/perch");
/** Logs, screenshots and figures; not kept in the repository. */
export const ARTIFACTS = path.join(ROOT, "tests/artifacts/interop");
/** One JSON line per figure of the last run. */
export const FIGURES = path.join(ARTIFACTS, "figures.jsonl");
