// Chromium viewers: one browser, a page per viewer.

import { mkdir, readFile } from "node:fs/promises";
import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

import { launchChromium } from "./chromium.mjs";
import { until } from "./until.mjs";

const HERE = import.meta.dirname;
const SOCKET_IO = path.join(
  path.dirname(createRequire(import.meta.url).resolve("socket.io-client/package.json")),
  "dist/socket.io.min.js",
);
const FILES = {
  "/viewer.html": [path.join(HERE, "viewer.html"), "text/html"],
  "/viewer.page.js": [path.join(HERE, "viewer.page.js"), "text/javascript"],
  "/sps.worker.js": [path.join(HERE, "sps.worker.js"), "text/javascript"],
  "/socket.io.js": [SOCKET_IO, "text/javascript"],
};

export class Browser {
  /** `program` starts the browser, which finds its page at the address `near` of ours. */
  static async start({ program, near = "127.0.0.1" } = {}) {
    const self = new Browser();
    self.http = createServer((request, response) => self.#serve(request, response));
    self.http.listen(0, near);
    await once(self.http, "listening");
    self.url = `http://${near}:${self.http.address().port}`;
    self.browser = await launchChromium(["--autoplay-policy=no-user-gesture-required"], program);
    self.context = await self.browser.newContext();
    return self;
  }

  async #serve(request, response) {
    const file = FILES[new URL(request.url, "http://x").pathname];
    if (!file) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": file[1] }).end(await readFile(file[0]));
  }

  /** A page whose socket is connected to the lobby; it watches nothing yet. */
  async viewer(lobby, name, extra = {}) {
    const page = await this.context.newPage();
    const viewer = new Viewer(page, lobby, name);
    page.on("pageerror", (error) => viewer.pageErrors.push(String(error)));
    await page.goto(`${this.url}/viewer.html`);
    await page.waitForFunction(() => window.page?.report);
    viewer.id = await page.evaluate(
      ([url, token, more]) => window.page.connect(url, token, more),
      [lobby.url, lobby.token(name), extra],
    );
    return viewer;
  }

  async stop() {
    await this.browser.close();
    this.http.closeAllConnections();
    this.http.close();
  }
}

export class Viewer {
  pageErrors = [];

  constructor(page, lobby, name) {
    this.page = page;
    this.lobby = lobby;
    this.name = name;
  }

  /** Joins; true when the server knows the stream. */
  watch(streamId = this.lobby.stream.streamId, options = {}) {
    return this.page.evaluate(([id, more]) => window.page.watch(id, more), [streamId, options]);
  }

  /** Joins as somebody who presses Watch again; true with an offer, false (and left again) after a refusal. */
  async triesToWatch() {
    const count = (event) => this.lobby.sent(event, (r) => r.payload.to === this.id).length;
    const [offers, refusals] = [count("live:signal-offer"), count("live:viewer-refused")];
    await this.watch();
    await until(`an offer or a refusal for ${this.name}`, 15_000, () =>
      count("live:signal-offer") > offers || count("live:viewer-refused") > refusals);
    if (count("live:signal-offer") > offers) return true;
    await this.leave();
    return false;
  }

  /** The player closes and nobody is there to be told. */
  hangUp() {
    return this.page.evaluate(() => {
      window.page.socket.close();
      window.page.pc.close();
    });
  }

  leave() {
    return this.page.evaluate(() => window.page.leave());
  }

  report() {
    return this.page.evaluate(() => window.page.report());
  }

  /** The report without the long parts, for messages. */
  async brief() {
    const { offers, events, ...rest } = await this.report();
    return { ...rest, offers: offers.length, events: events.slice(-12) };
  }

  resetGap() {
    return this.page.evaluate(() => window.page.resetGap());
  }

  /** Waits for the first picture; the report at that time. */
  firstFrame(ms = 20_000) {
    return until(`a first frame at ${this.name}`, ms, async () => {
      const r = await this.report();
      return r.firstFrameMs !== null && r.video?.decoded > 0 ? r : null;
    }, () => this.brief());
  }

  /** Waits until at least `frames` more are decoded, `times` times over. */
  async moves({ times = 3, frames = 5, ms = 20_000 } = {}) {
    let last = await this.report();
    for (let n = 0; n < times; n += 1) {
      const floor = (last.video?.decoded ?? 0) + frames;
      last = await until(`${frames} more frames at ${this.name}`, ms, async () => {
        const r = await this.report();
        return r.video?.decoded >= floor ? r : null;
      }, () => this.brief());
    }
    return last;
  }

  /** The largest change of any of the picture's grey values within `ms`, and their spread. */
  async pictureMoves(ms = 10_000) {
    const first = await this.page.evaluate(() => window.page.look());
    const spread = Math.max(...first) - Math.min(...first);
    await until(`a picture that changes at ${this.name}`, ms, async () => {
      const next = await this.page.evaluate(() => window.page.look());
      return next.some((grey, i) => Math.abs(grey - first[i]) > 8);
    });
    return spread;
  }

  /** Everything that a page in the field would have stumbled over. */
  async complaints() {
    return [...this.pageErrors, ...(await this.report()).errors];
  }

  async screenshot(file) {
    await mkdir(path.dirname(file), { recursive: true });
    await this.page.screenshot({ path: file });
  }

  close() {
    return this.page.close();
  }
}
