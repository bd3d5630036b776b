// The real binary, started as an owner would: a configuration file, a secret in a file, SIGTERM to stop.

import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

import { killAtExit } from "./children.mjs";
import { ARTIFACTS, BINARY } from "./paths.mjs";
import { until } from "./until.mjs";

/** A TOML document of one level of tables; enough for a test's configuration. */
function toml(tables) {
  const value = (v) =>
    Array.isArray(v) ? `[${v.map(value).join(", ")}]`
    : typeof v === "object" ? `{ ${Object.entries(v).map(([k, w]) => `${k} = ${value(w)}`).join(", ")} }`
    : JSON.stringify(v);
  return Object.entries(tables)
    .map(([name, keys]) => `[${name}]\n${Object.entries(keys).map(([k, v]) => `${k} = ${value(v)}\n`).join("")}`)
    .join("\n");
}

export class Daemon {
  /** Standard output and error as they came. */
  log = "";
  /** `{code, signal, at}` once it is gone. */
  exit = null;

  /**
   * @param {import("./lobby.mjs").Lobby} lobby
   * @param {object} options
   * @param {string} options.name names the log among the artefacts
   * @param {object} [options.config] tables that are laid over the test's defaults
   * @param {object} [options.env] further environment, such as PERCH__VIEWERS__MAX
   * @param {string[]} [options.prefix] a command to run it under, such as `ip netns exec NAME`
   * @param {string} [options.secret] what to write into the secret file; the lobby's own when left out
   */
  static async start(lobby, { name, config = {}, env = {}, prefix = [], secret = lobby.secret }) {
    const self = new Daemon();
    self.dir = await mkdtemp(path.join(tmpdir(), "perch-interop-"));
    self.secretFile = path.join(self.dir, "lobby.secret");
    await self.setSecret(secret);
    const file = path.join(self.dir, "perch.toml");
    await writeFile(file, toml(Daemon.#settings(lobby, self.secretFile, config)));
    self.#spawn([...prefix, BINARY, "run", "--config", file], env, name);
    return self;
  }

  static #settings(lobby, secretFile, config) {
    const settings = {
      stream: { title: "Perch under test" },
      camera: { profile: "test", width: 320, height: 180, framerate: 15 },
      encoder: { bitrate: 300_000 },
      lobby: { url: lobby.url },
      "lobby.auth": { secret_file: secretFile, subject: "perch-camera" },
    };
    for (const [table, keys] of Object.entries(config)) settings[table] = { ...settings[table], ...keys };
    return settings;
  }

  #spawn([program, ...args], env, name) {
    mkdirSync(ARTIFACTS, { recursive: true });
    const log = path.join(ARTIFACTS, `${name}.log`);
    writeFileSync(log, "");
    const clean = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith("PERCH__")));
    this.startedAt = Date.now();
    this.child = spawn(program, args, {
      env: { ...clean, NO_COLOR: "1", RUNTIME_DIRECTORY: this.dir, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    killAtExit(this.child);
    for (const out of [this.child.stdout, this.child.stderr]) {
      out.setEncoding("utf8").on("data", (text) => {
        this.log += text;
        appendFileSync(log, text);
      });
    }
    this.gone = new Promise((resolve) => {
      this.child.once("error", (error) => {
        this.log += `cannot start ${program}: ${error.message}\n`;
        this.exit ??= { code: null, signal: null, at: Date.now() };
        resolve(this.exit);
      });
      this.child.once("exit", (code, signal) => (this.exit ??= { code, signal, at: Date.now() }));
      this.child.once("close", () => resolve(this.exit)); // the log is complete
    });
  }

  get pid() {
    return this.child.pid;
  }

  get alive() {
    return this.exit === null;
  }

  setSecret(secret) {
    return writeFile(this.secretFile, secret, { mode: 0o600 });
  }

  lines(pattern) {
    return this.log.split("\n").filter((line) => pattern.test(line));
  }

  /** Waits until the lobby has a live stream of this host that is not `before`; its id. */
  live(lobby, { before = null, ms = 30_000 } = {}) {
    return until("the host to go live", ms, () => {
      if (!this.alive) throw new Error(`the host ended early with ${JSON.stringify(this.exit)}:\n${this.log}`);
      const id = lobby.stream?.streamId;
      return id && id !== before ? id : null;
    }, () => ({ log: this.log.slice(-2000) }));
  }

  /** What `perch status --json` says. */
  async status() {
    const env = { ...process.env, RUNTIME_DIRECTORY: this.dir };
    const { stdout } = await promisify(execFile)(BINARY, ["status", "--json"], { env });
    return JSON.parse(stdout);
  }

  /** Threads and file descriptors, from /proc. */
  async resources() {
    const status = await readFile(`/proc/${this.pid}/status`, "utf8");
    const field = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)[1]);
    return { threads: field("Threads"), rssKb: field("VmRSS") };
  }

  /** SIGTERM; how it ended and how long that took. */
  async terminate() {
    const asked = Date.now();
    this.child.kill("SIGTERM");
    const exit = await this.gone;
    return { ...exit, ms: exit.at - asked };
  }

  /** For the end of every test: gone for certain, and nothing left on disk. */
  async reap() {
    if (this.alive) {
      this.child.kill("SIGTERM");
      const killer = setTimeout(() => this.child.kill("SIGKILL"), 5000);
      await this.gone;
      clearTimeout(killer);
    }
    await rm(this.dir, { recursive: true, force: true });
  }
}
