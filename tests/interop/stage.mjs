// What every test of the suite needs: a lobby, a host in it, one browser for all, and the figures.

import { appendFileSync, mkdirSync } from "node:fs";
import path from "node:path";

import { Daemon } from "./daemon.mjs";
import { Lobby } from "./lobby.mjs";
import { ARTIFACTS, FIGURES } from "./paths.mjs";
import { Browser } from "./viewer.mjs";

let starting;

/** One browser process for a test file; started with the first viewer. */
export function theBrowser() {
  starting ??= Browser.start();
  return starting;
}

export async function closeBrowser() {
  await (await starting)?.stop();
}

export class Stage {
  viewers = [];

  /**
   * A lobby with a live host in it.
   * @param {import("node:test").TestContext} t
   * @param {object} options
   * @param {object} [options.lobby] for `Lobby.start`
   * @param {object} [options.config] for `Daemon.start`
   * @param {boolean} [options.live] false: do not wait for the host to go live
   */
  static async set(t, { lobby = {}, live = true, ...daemon } = {}) {
    const stage = new Stage();
    stage.t = t;
    stage.name = t.name.replaceAll(/[^a-z0-9]+/gi, "-").toLowerCase().slice(0, 60);
    t.after(() => stage.strike());
    stage.lobby = await Lobby.start(lobby);
    stage.daemon = await Daemon.start(stage.lobby, { name: stage.name, ...daemon });
    if (live) stage.streamId = await stage.daemon.live(stage.lobby);
    return stage;
  }

  /** A page that is connected and does not watch yet. */
  async page(name, extra) {
    const viewer = await (await theBrowser()).viewer(this.lobby, name, extra);
    this.viewers.push(viewer);
    return viewer;
  }

  /** A page that watches and has its first frame. */
  async watcher(name, extra) {
    const viewer = await this.page(name, extra);
    await viewer.watch();
    await viewer.firstFrame();
    return viewer;
  }

  screenshot(viewer, what) {
    return viewer.screenshot(path.join(ARTIFACTS, `${this.name}-${what}.png`));
  }

  /** A figure for the summary: printed with the test and kept with the artefacts. */
  figure(what, value, unit) {
    const rounded = Math.round(value * 10) / 10;
    this.t.diagnostic(`${what}: ${rounded} ${unit}`);
    mkdirSync(ARTIFACTS, { recursive: true });
    appendFileSync(FIGURES, `${JSON.stringify({ test: this.t.name, what, value: rounded, unit })}\n`);
  }

  async strike() {
    await Promise.all(this.viewers.map((viewer) => viewer.close().catch(() => {})));
    await this.daemon?.reap();
    await this.lobby?.stop();
  }
}
