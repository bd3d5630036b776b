// Debian for arm64, emulated, as far as a chroot goes: its programs run one by one under qemu-user, on this machine's
// kernel and in its network.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { Program } from "../browser/program.mjs";
import { pipe } from "../guest/nspawn.mjs";

export class Board {
  #mounted = false;

  /** The tree `root` with what is written over it; `root` stays as it is. */
  constructor(root) {
    this.directory = mkdtempSync(path.join(tmpdir(), "perch-arm64-"));
    const at = (name) => path.join(this.directory, name);
    for (const name of ["written", "work", "merged"]) mkdirSync(at(name));
    this.tree = at("merged");
    execFileSync("mount", ["-t", "overlay", "-o", `lowerdir=${root},upperdir=${at("written")},workdir=${at("work")}`, "overlay", this.tree]);
    this.#mounted = true;
    process.once("exit", () => this.remove());
  }

  /** Runs a command to its end: its standard output. */
  run(...command) {
    const { status, stdout, stderr, error } = spawnSync("systemd-nspawn", pipe(this.tree, ...command), { encoding: "utf8", timeout: 300_000, stdio: ["ignore", "pipe", "pipe"] });
    if (error) throw error;
    if (status !== 0) throw new Error(`${command.join(" ")} ended with ${status}:\n${(stdout + stderr).slice(-2000)}`);
    return stdout.trimEnd();
  }

  /** Starts a command that goes on. */
  start(...command) {
    return new Program("/usr/bin/systemd-nspawn", pipe(this.tree, ...command), { hint: "scripts/install-needs container" });
  }

  /** Leaves nothing behind. */
  remove() {
    if (this.#mounted) spawnSync("umount", ["--lazy", this.tree]);
    this.#mounted = false;
    rmSync(this.directory, { recursive: true, force: true });
  }
}
