// Where things are.

import path from "node:path";

const ROOT = path.resolve(import.meta.dirname, "../..");

/** The daemon. */
export const PERCH = path.resolve(ROOT, process.env.PERCH_BIN ?? "target/debug/perch");
/** The embedded lobby alone (`cargo build --example lobby`). */
export const LOBBY = path.resolve(ROOT, process.env.PERCH_LOBBY_BIN ?? "target/debug/examples/lobby");
/** Screenshots and logs; not kept in the repository. */
export const ARTIFACTS = path.join(ROOT, "tests/artifacts/browser");
