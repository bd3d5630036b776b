// What is outside of an emulated machine: a network of its own, with the other end of the machine's network card (a tap
// device), a lobby with its page, and a browser. Nothing of it is in the host's own network.

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { randomBytes } from "node:crypto";
import { spawnSync } from "node:child_process";

import { Program } from "../browser/program.mjs";
import { Visitor } from "../browser/visitor.mjs";
import { CHROMIUM, launchChromium } from "../interop/chromium.mjs";
import { ip } from "../interop/namespaces.mjs";
import { LOBBY } from "./paths.mjs";

const IP = "/bin/ip";

export class Outside {
  static ADDRESS = "10.78.0.1";
  /** The machine's own. */
  static GUEST = "10.78.0.2";
  tap = "guest0";
  #leaving = [];

  constructor() {
    this.name = `perch-out-${process.pid}`;
    ip("netns", "add", this.name);
    process.once("exit", () => this.#remove());
    const inside = (...args) => ip("-n", this.name, ...args);
    inside("link", "set", "lo", "up");
    inside("tuntap", "add", "dev", this.tap, "mode", "tap");
    inside("address", "add", `${Outside.ADDRESS}/24`, "dev", this.tap);
    inside("link", "set", this.tap, "up");
    this.directory = mkdtempSync(path.join(tmpdir(), "perch-outside-"));
    /** Starts a program here. */
    this.prefix = [IP, "netns", "exec", this.name];
  }

  /** The owner's lobby, which tells of those who go live. */
  async openLobby(secret) {
    this.key = randomBytes(16).toString("base64url");
    this.lobby = new Program(IP, [...this.prefix.slice(1), LOBBY, `--listen=${Outside.ADDRESS}:0`, `--watch-key=${this.key}`, "--until-eof"], {
      env: { PERCH_LOBBY_SECRET: secret, RUST_LOG: "perch::lobby=debug" },
      hint: "make programs",
    });
    const [line] = await this.lobby.says(/^\{.*\}$/m);
    this.url = JSON.parse(line).url;
  }

  /** Waits for a host that goes live from now on; when it did, in ms since the epoch. */
  async live(ms) {
    const before = this.lobby.log.length;
    const [, at] = await this.lobby.says(new RegExp(`^(?<=[\\s\\S]{${before},})(\\S+Z).*asked to go live`, "m"), ms);
    return Date.parse(at);
  }

  /** Bytes that came from the machine. */
  received() {
    const [{ stats64 }] = JSON.parse(ip("-n", this.name, "-j", "-s", "link", "show", "dev", this.tap));
    return stats64.rx.bytes;
  }

  /** Somebody with the lobby's page open, who waits for a stream; `name` is for the pictures of the screen. */
  async visitor(name) {
    if (!this.browser) {
      const script = path.join(this.directory, "chromium");
      writeFileSync(script, `#!/bin/sh\nexec ${this.prefix.join(" ")} ${CHROMIUM} "$@"\n`);
      chmodSync(script, 0o755);
      this.browser = await launchChromium([], script);
    }
    const visitor = await Visitor.enter({ name, after: (leave) => this.#leaving.push(leave) }, {}, this.browser);
    await visitor.open(`${this.url}/#${this.key}`);
    return visitor;
  }

  /** The visitors are gone, as if they had closed the page. */
  async sendAway() {
    for (const leave of this.#leaving.splice(0)) await leave();
  }

  async close() {
    await this.browser?.close();
    await this.lobby?.stop();
    this.#remove();
  }

  #remove() {
    spawnSync("ip", ["netns", "delete", this.name]);
    rmSync(this.directory, { recursive: true, force: true });
  }
}
