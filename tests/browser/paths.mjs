// Where things are.

import path from "node:path";

const ROOT = path.resolve(import.meta.dirname, "../..");

/** The daemon. */
export const PERCH = path.resolve(ROOT, process.env.PERCH_BIN ?? "target/debug/perch");
/** The embedded lobby alone (`cargo build --example lobby`). */
export const LOBBY = path.resolve(ROOT, process.env.PERCH_LOBBY_BIN ?? "target/debug/examples/lobby");
/** A plugin whose element fails on command (`make fault-plugin`), and where the profile is that uses it. */
export const FAULT_PLUGINS = path.resolve(PERCH, "../../faults");
export const FAULT_DATA = path.join(ROOT, "tests/faults");
/** Screenshots and logs; not kept in the repository. */
export const ARTIFACTS = path.join(ROOT, "tests/artifacts/browser");
