// Where things are.

import { execFileSync } from "node:child_process";
import path from "node:path";

export const ROOT = path.resolve(import.meta.dirname, "../..");

const target = () =>
  JSON.parse(execFileSync("cargo", ["metadata", "--no-deps", "--offline", "--format-version", "1"], { cwd: ROOT })).target_directory;

/** A program from the environment, or the debug build's. */
const program = (variable, ...inTarget) => path.resolve(ROOT, process.env[variable] ?? path.join(target(), "debug", ...inTarget));

/** The programs that go into a guest. */
export const SWARM = program("SWARM_BIN", "swarm");
export const LOBBY = program("PERCH_LOBBY_BIN", "examples", "lobby");

let made;

/** The Debian package: PERCH_DEB, or else that of the program that `make release` built. */
export function debianPackage() {
  const make = () => execFileSync("scripts/make-deb", { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim().split("\n").at(-1);
  return (made ??= process.env.PERCH_DEB ? path.resolve(ROOT, process.env.PERCH_DEB) : make());
}

/** A plugin whose element fails on command, and the profile that has it on both sides of the encoder. */
export const FAULT_PLUGIN = program("PERCH_FAULT_PLUGIN", "libgstfaultgate.so");
export const FAULT_PROFILE = path.join(ROOT, "tests/faults/pipelines/faulty.toml");

/** Consoles and journals of the last run; not kept in the repository. */
export const ARTIFACTS = path.join(ROOT, "tests/artifacts/guest");
