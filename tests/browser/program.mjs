// A program under test: started, read line by line, and gone for certain at the end.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";

import { until } from "../interop/until.mjs";

export class Program {
  /** Standard output and error as they came. */
  log = "";
  /** `{code, signal}` once it is gone. */
  exit = null;

  constructor(binary, args, { env = {}, hint = "cargo build" } = {}) {
    if (!existsSync(binary)) throw new Error(`${binary} is missing: run \`${hint}\` first`);
    const clean = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith("PERCH_")));
    this.child = spawn(binary, args, { env: { ...clean, NO_COLOR: "1", ...env }, stdio: ["pipe", "pipe", "pipe"] });
    this.kill = () => this.child.kill("SIGKILL");
    process.once("exit", this.kill); // a broken-off run leaves nothing behind
    for (const out of [this.child.stdout, this.child.stderr]) {
      out.setEncoding("utf8").on("data", (text) => (this.log += text));
    }
    this.gone = new Promise((resolve) => {
      this.child.once("close", (code, signal) => {
        this.exit = { code, signal };
        resolve(this.exit);
      });
    });
  }

  /** Waits for a line that matches; the match. */
  says(pattern, ms = 30_000) {
    return until(`the program to say ${pattern}`, ms, () => {
      const found = pattern.exec(this.log);
      if (!found && this.exit) throw new Error(`it ended early with ${JSON.stringify(this.exit)}:\n${this.log}`);
      return found;
    }, () => this.log);
  }

  /** SIGTERM, and SIGKILL where that does not help. */
  async stop() {
    if (!this.exit) {
      this.child.kill("SIGTERM");
      const killer = setTimeout(this.kill, 8_000);
      await this.gone;
      clearTimeout(killer);
    }
    process.off("exit", this.kill);
    return this.exit;
  }
}
