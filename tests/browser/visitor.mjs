// Visitors of the page: one browser, a context each, and what a person does and sees there.

import { mkdirSync } from "node:fs";
import path from "node:path";

import { launchChromium } from "../interop/chromium.mjs";
import { until } from "../interop/until.mjs";
import { ARTIFACTS } from "./paths.mjs";

/** Long enough for a loaded machine. */
export const PATIENCE = 30_000;

let browser;

/** One browser process for a test file; started with the first visitor. */
export async function theBrowser() {
  browser ??= await launchChromium();
  return browser;
}

export async function closeBrowser() {
  await browser?.close();
  browser = undefined;
}

export class Visitor {
  /** What the browser complained of: page errors, and violations of the content security policy. */
  complaints = [];
  /** The page's sockets to the lobby, for tests that cut them. */
  sockets = [];

  /**
   * @param {import("node:test").TestContext} t
   * @param {import("playwright-core").BrowserContextOptions} options
   * @param browser another one than the file's own
   */
  static async enter(t, options = {}, browser = undefined) {
    const visitor = new Visitor();
    visitor.name = t.name.replaceAll(/[^a-z0-9]+/gi, "-").toLowerCase().slice(0, 60);
    visitor.context = await (browser ?? (await theBrowser())).newContext({
      viewport: { width: 1200, height: 800 },
      colorScheme: "light",
      ...options,
    });
    t.after(() => visitor.context.close());
    visitor.context.setDefaultTimeout(PATIENCE);
    await visitor.newTab();
    return visitor;
  }

  async newTab() {
    this.page = await this.context.newPage();
    this.page.on("pageerror", (error) => this.complaints.push(String(error)));
    this.page.on("console", (message) => {
      if (/content security policy/i.test(message.text())) this.complaints.push(message.text());
    });
    await this.page.routeWebSocket(/\/socket\.io\//, (socket) => {
      this.sockets.push({ page: socket, server: socket.connectToServer() });
    });
  }

  open(url) {
    return this.page.goto(url);
  }

  /** Cuts the visitor's line to the lobby, at both ends. */
  async cutLine() {
    for (const { page, server } of this.sockets.splice(0)) {
      await Promise.all([page.close(), server.close()]);
    }
  }

  button(name) {
    return this.page.getByRole("button", { name, exact: typeof name === "string" });
  }

  /** The line of the list with that title. */
  line(title) {
    return this.page.getByRole("listitem").filter({ has: this.page.getByRole("heading", { name: title, exact: true }) });
  }

  async watch(title) {
    await this.button(`Watch ${title}`).click();
  }

  sees(text) {
    return this.page.getByText(text).filter({ visible: true }).first().waitFor();
  }

  async seesNot(text) {
    const shown = this.page.getByText(text).filter({ visible: true });
    await until(`${text} to go`, PATIENCE, async () => (await shown.count()) === 0);
  }

  /** LIVE beside the title, and a picture that moves. */
  async seesLive() {
    await this.page.getByRole("heading", { level: 1 }).filter({ visible: true }).waitFor();
    await this.page.locator("#badge").getByText("LIVE", { exact: true }).waitFor();
    await this.seesMotion();
  }

  /** The picture advances: more frames are shown, and the video's clock runs. */
  async seesMotion(frames = 5) {
    const before = await this.picture();
    await until("the picture to move", PATIENCE, async () => {
      const now = await this.picture();
      // A new connection starts its counters anew.
      return now.width > 0 && (now.frames >= before.frames + frames || (now.frames < before.frames && now.frames >= frames)) && now.time !== before.time;
    }, () => this.picture());
  }

  picture() {
    return this.page.locator("video").evaluate((video) => ({
      time: video.currentTime,
      frames: video.getVideoPlaybackQuality().totalVideoFrames,
      width: video.videoWidth,
      height: video.videoHeight,
      muted: video.muted,
      paused: video.paused,
    }));
  }

  /** Whatever the screen reader was told last. */
  announced() {
    return this.page.getByRole("status").innerText();
  }

  focused() {
    return this.page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent);
  }

  async screenshot(what) {
    mkdirSync(ARTIFACTS, { recursive: true });
    await this.page.screenshot({ path: path.join(ARTIFACTS, `${this.name}-${what}.png`) });
  }
}
