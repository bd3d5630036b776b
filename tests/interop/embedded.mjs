// The embedded lobby as a process of its own: `examples/lobby.rs`.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";

import { BINARY } from "./paths.mjs";

/** Built by `cargo test` and `cargo build --example lobby` beside the program under test. */
const EXAMPLE = path.resolve(process.env.PERCH_LOBBY_BIN ?? path.join(path.dirname(BINARY), "examples/lobby"));

export class EmbeddedLobby {
  /** `{code, signal}` once it is gone. */
  exit = null;
  /** Standard error as it came. */
  log = "";

  /**
   * @param {object} options
   * @param {string} options.secret the HS256 secret
   * @param {string} [options.watchKey] a random one when left out
   * @param {number} [options.port] 0 for a free one
   */
  static async start({ secret, watchKey, port = 0 }) {
    if (!existsSync(EXAMPLE)) {
      throw new Error(`${EXAMPLE} is missing: run \`cargo build --example lobby\`, or name it in PERCH_LOBBY_BIN`);
    }
    const self = new EmbeddedLobby();
    const args = ["--listen", `127.0.0.1:${port}`, "--until-eof", ...(watchKey ? ["--watch-key", watchKey] : [])];
    // Its standard input ends with this process, whatever becomes of the tests.
    self.process = spawn(EXAMPLE, args, {
      env: { ...process.env, PERCH_LOBBY_SECRET: secret, RUST_LOG: process.env.RUST_LOG ?? "warn" },
      stdio: ["pipe", "pipe", "pipe"],
    });
    self.process.stderr.on("data", (chunk) => { self.log += chunk; });
    self.gone = new Promise((resolve) => {
      self.process.once("exit", (code, signal) => resolve((self.exit = { code, signal })));
    });
    const lines = createInterface({ input: self.process.stdout });
    const first = await Promise.race([
      new Promise((resolve) => lines.once("line", resolve)),
      self.gone.then(() => { throw new Error(`the lobby did not start: ${self.log}`); }),
    ]);
    Object.assign(self, JSON.parse(first));
    return self;
  }

  get port() {
    return Number(new URL(this.url).port);
  }

  /** Exchanges a watch key as the page does; the `Response`. */
  redeem(watch = this.watchKey) {
    return fetch(`${this.url}/api/token`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ watch }),
    });
  }

  /** Ends it as systemd would; `{code, signal}`. */
  async stop() {
    if (this.exit === null) this.process.kill("SIGTERM");
    return this.gone;
  }
}
