// The embedded lobby alone, with hosts that are browser pages: they do at once and on demand what a
// camera does seldom.

import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import path from "node:path";

import jwt from "jsonwebtoken";

import { LOBBY } from "./paths.mjs";
import { Program } from "./program.mjs";
import { theBrowser, Visitor } from "./visitor.mjs";

const HOST_PAGE = path.join(import.meta.dirname, "canvas-host.page.js");
const SOCKET_IO = path.join(
  path.dirname(createRequire(import.meta.url).resolve("socket.io-client/package.json")),
  "dist/socket.io.min.js",
);

export class Stage {
  secret = randomBytes(24).toString("hex");
  key = randomBytes(16).toString("base64url");
  #listen = "127.0.0.1:0";

  /** @param {import("node:test").TestContext} t */
  static async set(t) {
    const stage = new Stage();
    stage.t = t;
    t.after(() => stage.lobby?.stop());
    await stage.openLobby();
    return stage;
  }

  async openLobby() {
    // With "=", because one key in 64 begins with a dash.
    this.lobby = new Program(LOBBY, [`--listen=${this.#listen}`, `--watch-key=${this.key}`, "--until-eof"], {
      env: { PERCH_LOBBY_SECRET: this.secret },
      hint: "cargo build --example lobby",
    });
    const [line] = await this.lobby.says(/^\{.*\}$/m);
    this.url = JSON.parse(line).url;
    this.#listen = new URL(this.url).host;
  }

  /** The lobby goes away and comes back at the same address, with the same keys and nothing else. */
  async restartLobby() {
    await this.lobby.stop();
    await this.openLobby();
  }

  get link() {
    return `${this.url}/#${this.key}`;
  }

  /** A host that is live. Its options: `{title, user, max, audio, codec}`. */
  async host(options = {}) {
    const context = await (await theBrowser()).newContext({ bypassCSP: true });
    this.t.after(() => context.close());
    const page = await context.newPage();
    // Any page of the lobby's own origin will do, it answers no other site's: take the one that says "not found".
    await page.goto(`${this.url}/host`);
    await page.addScriptTag({ path: SOCKET_IO });
    await page.addScriptTag({ path: HOST_PAGE });
    const host = new Host(page, this, { title: "Coop", user: "coop", ...options });
    await host.goLive();
    return host;
  }

  visitor(options) {
    return Visitor.enter(this.t, options);
  }
}

class Host {
  constructor(page, stage, options) {
    this.page = page;
    this.stage = stage;
    this.options = options;
  }

  goLive() {
    const { user, ...options } = this.options;
    const token = jwt.sign({ sub: user }, this.stage.secret, { algorithm: "HS256", expiresIn: "1h" });
    return this.page.evaluate((more) => window.goLive(more), { url: this.stage.url, token, ...options });
  }

  /** `live:end`, and the branches closed. */
  end() {
    return this.page.evaluate(() => window.host.end());
  }

  /** Another rendition to all viewers. */
  send(rendition, reason) {
    return this.page.evaluate(([name, why]) => window.host.send(name, why), [rendition, reason]);
  }

  /** The line to the lobby breaks for a moment; the branches live on. */
  blink() {
    return this.page.evaluate(() => window.host.socket.io.engine.close());
  }

  /** Closes every branch without telling the lobby. */
  dropAll() {
    return this.page.evaluate(() => [...window.host.branches.keys()].forEach(window.host.drop));
  }

  branches() {
    return this.page.evaluate(() => window.host.branches.size);
  }

  streamId() {
    return this.page.evaluate(() => window.host.streamId);
  }
}
