// A guest in systemd-nspawn: systemd as PID 1, native speed, the host's kernel, a network of its own.

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { killAtExit } from "../interop/children.mjs";
import { until } from "../interop/until.mjs";
import { ARTIFACTS } from "./paths.mjs";

/** systemd-nspawn's arguments for one command in a tree that does not run; options may come before the command. */
export const pipe = (tree, ...command) => [
  "--quiet", `--directory=${tree}`, `--machine=perch-pipe-${process.pid}`, "--register=no", "--keep-unit", "--settings=no", "--pipe",
  "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--kill-signal=SIGTERM", "--setenv=NO_COLOR=1", ...command,
];

export class Container {
  /**
   * Boots the tree `root` with what `fill` puts over it.
   * @param {string} root a directory that stays as it is
   * @param {(tree: string) => void} fill
   */
  static async boot(root, fill) {
    const self = new Container();
    self.directory = mkdtempSync(path.join(tmpdir(), "perch-guest-"));
    const at = (name) => path.join(self.directory, name);
    for (const name of ["install", "written", "work", "merged"]) mkdirSync(at(name));
    try {
      fill(at("install"));
      execFileSync("mount", ["-t", "overlay", "-o", `lowerdir=${at("install")}:${root},upperdir=${at("written")},workdir=${at("work")}`, "overlay", at("merged")]);
      self.mounted = at("merged");
      process.once("exit", () => self.#unmount());
      self.#spawn();
      self.leader = await until("systemd in the container", 20_000, () => self.#findLeader(), () => self.console);
      // Not `is-system-running`: Perch itself may well be starting for ever, until it is live.
      const up = async () => (await self.execute("systemctl is-active --quiet multi-user.target", 10)).code === 0;
      await until("the container to be up", 60_000, up, () => self.execute("systemctl list-jobs; systemctl --failed", 10), 200);
    } catch (error) {
      await self.stop();
      throw error;
    }
    return self;
  }

  #spawn() {
    mkdirSync(ARTIFACTS, { recursive: true });
    const log = createWriteStream(path.join(ARTIFACTS, "nspawn-console.log"));
    this.console = "";
    this.child = spawn("systemd-nspawn", [
      "--quiet", "--boot", `--directory=${this.mounted}`, `--machine=perch-${process.pid}`, "--register=no", "--keep-unit", "--settings=no",
      "--private-network", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe", "systemd.show_status=0",
    ], { stdio: ["ignore", "pipe", "pipe"] });
    killAtExit(this.child);
    this.gone = new Promise((resolve) => {
      this.child.once("error", (error) => resolve({ code: null, error }));
      this.child.once("close", (code) => resolve({ code }));
    });
    for (const out of [this.child.stdout, this.child.stderr]) {
      out.setEncoding("utf8").on("data", (text) => {
        this.console += text;
        log.write(text);
      });
    }
  }

  /** The process that is PID 1 inside. */
  #findLeader() {
    if (this.child.exitCode !== null) throw new Error(`systemd-nspawn ended with ${this.child.exitCode}:\n${this.console}`);
    const below = (pid) => {
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
      return children ? children.split(" ").flatMap((child) => [child, ...below(child)]) : [];
    };
    try {
      return below(this.child.pid).find((pid) => /^NSpid:.*\t1$/m.test(readFileSync(`/proc/${pid}/status`, "utf8")) && readFileSync(`/proc/${pid}/comm`, "utf8") === "systemd\n");
    } catch {
      return null; // one of them ended while it was looked at
    }
  }

  /** Runs a shell script as root inside. */
  execute(script, seconds) {
    return new Promise((resolve, reject) => {
      // The time limit is kept inside: killed from here, nsenter would leave the script behind.
      const command = ["timeout", "--kill-after=5", String(seconds), "bash", "-c", script];
      const child = spawn("nsenter", ["--target", this.leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", ...command], {
        env: { PATH: "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", LANG: "C.UTF-8" },
        stdio: ["ignore", "pipe", "pipe"],
      });
      let out = "";
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (out += text));
      child.once("error", reject);
      child.once("close", (code) => {
        if (code === 124 || code === 137) reject(new Error(`not done after ${seconds} s: ${script}\n${out}`));
        else resolve({ code, out });
      });
    });
  }

  /** Waits until the container has ended by itself; systemd-nspawn's exit code. */
  ended(seconds) {
    const late = new Promise((_, reject) => {
      const timer = setTimeout(() => reject(new Error(`the container still runs after ${seconds} s`)), seconds * 1000);
      this.gone.then(() => clearTimeout(timer));
    });
    return Promise.race([this.gone.then(({ code }) => code), late]);
  }

  async stop() {
    if (this.child && this.child.exitCode === null && this.child.pid) {
      this.child.kill("SIGTERM"); // powers the guest off
      const killer = setTimeout(() => this.child.kill("SIGKILL"), 20_000);
      await this.gone;
      clearTimeout(killer);
    }
    this.#unmount();
  }

  /** Leaves nothing behind; also for a run that is broken off. */
  #unmount() {
    if (this.mounted) spawnSync("umount", ["--lazy", this.mounted]);
    this.mounted = null;
    rmSync(this.directory, { recursive: true, force: true });
  }
}
