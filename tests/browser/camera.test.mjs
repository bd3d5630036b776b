// The page against the whole program: camera, encoder, host and lobby in one process.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";

import { until } from "../interop/until.mjs";
import { FAULT_DATA, FAULT_PLUGINS, PERCH } from "./paths.mjs";
import { Program } from "./program.mjs";
import { closeBrowser, PATIENCE, Visitor } from "./visitor.mjs";

after(closeBrowser);

/** A small picture: the browser decodes it on the cores that encode it. */
const SMALL = { PERCH__CAMERA__WIDTH: "640", PERCH__CAMERA__HEIGHT: "360", PERCH__CAMERA__FRAMERATE: "20" };
const LINK = /^\s*(http:\/\/\S+\/#\S+)\s*$/m;

/** `perch demo`, with the link that it shows. */
async function demo(t, { args = [], env = {} } = {}) {
  const program = new Program(PERCH, ["demo", "--listen", "127.0.0.1:0", ...args], { env: { ...SMALL, ...env } });
  t.after(() => program.stop());
  const [, link] = await program.says(LINK);
  return { program, link };
}

/** A place for a device's files; gone after the test. */
async function place(t) {
  const dir = await mkdtemp(path.join(tmpdir(), "perch-page-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** `perch run` with the embedded lobby. */
async function run(t, dir, { listen = "127.0.0.1:0", profile = "test", env = {} } = {}) {
  const config = path.join(dir, "perch.toml");
  await writeFile(
    config,
    `[stream]\ntitle = "Coop"\n[camera]\nprofile = "${profile}"\n[embedded_lobby]\nenabled = true\nlisten = "${listen}"\n`,
  );
  const own = { ...SMALL, STATE_DIRECTORY: dir, ...env };
  const program = new Program(PERCH, ["run", "--config", config], { env: own });
  t.after(() => program.stop());
  const [, address] = await program.says(/embedded lobby is open\b.*?address=(\S+)/);
  const show = new Program(PERCH, ["link", "--config", config], { env: { ...own, PERCH__EMBEDDED_LOBBY__LISTEN: address } });
  const [link] = await show.says(/http:\S+#\S+/);
  await show.stop();
  return { program, address, link };
}

/** What the panel says of the connection. */
async function figures(visitor) {
  const terms = await visitor.page.locator("#details div").allInnerTexts();
  return Object.fromEntries(terms.map((text) => text.split("\n").filter((part) => part !== "")));
}

test("the demo's link shows the camera by itself, with all that belongs to it", async (t) => {
  const { link } = await demo(t, { args: ["--audio"] });
  const visitor = await Visitor.enter(t);
  await visitor.open(link);
  await visitor.seesLive();
  await visitor.sees("Perch demo");
  await visitor.sees("1 watching");
  assert.deepEqual([(await visitor.picture()).width, (await visitor.picture()).height], [640, 360]);

  const quality = visitor.button(/^Connection: (Excellent|Good|Fair|Poor)/);
  await quality.waitFor();
  await visitor.screenshot("light");
  await quality.click();
  const shown = await until("the figures", PATIENCE, async () => {
    const read = await figures(visitor);
    return read.Codec === "H264" && read["Round trip"] !== "–" && read;
  }, () => figures(visitor));
  assert.equal(shown.Resolution, "640×360");
  assert.match(shown["Frame rate"], /^[1-9]\d* fps$/);
  await visitor.page.emulateMedia({ colorScheme: "dark" });
  await visitor.screenshot("dark");

  await visitor.button("Turn sound on").click();
  assert.equal((await visitor.picture()).muted, false);
  await visitor.button("Mute").waitFor();
  await visitor.seesMotion();
  await visitor.page.setViewportSize({ width: 360, height: 740 });
  await visitor.screenshot("phone");
  assert.deepEqual(visitor.complaints, []);
});

test("two watch, one leaves and watches again", async (t) => {
  const { link } = await demo(t);
  const [one, two] = [await Visitor.enter(t), await Visitor.enter(t)];
  await one.open(link);
  await one.seesLive();
  await two.open(link);
  await two.seesLive();
  await one.sees("2 watching");
  await two.button("All streams").click();
  await one.sees("1 watching");
  await one.seesMotion();
  await two.line("Perch demo").getByText("1 watching").waitFor();
  await two.screenshot("list");
  await two.watch("Perch demo");
  await two.seesLive();
  await one.sees("2 watching");
  await one.seesMotion();
});

test("a full camera lets the next one in when there is a place", async (t) => {
  const { link } = await demo(t, { env: { PERCH__VIEWERS__MAX: "1" } });
  const [one, two] = [await Visitor.enter(t), await Visitor.enter(t)];
  await one.open(link);
  await one.seesLive();
  await two.open(link);
  await two.sees("The camera is full");
  await two.sees("Its only place is taken.");
  await one.seesMotion();
  await one.button("All streams").click();
  await two.seesLive();
});

test("a visitor that loses its line keeps a picture", async (t) => {
  const { link } = await demo(t);
  const visitor = await Visitor.enter(t);
  await visitor.open(link);
  await visitor.seesLive();
  for (let time = 0; time < 3; time++) {
    await visitor.cutLine();
    await until("the line to be dialled again", PATIENCE, () => visitor.sockets.length > 0);
    await visitor.sees("Lobby connected");
    await visitor.sees("1 watching");
    await visitor.seesLive();
  }
});

test("the program restarts, and the page goes on by itself", async (t) => {
  const dir = await place(t);
  const { program, address, link } = await run(t, dir);
  const visitor = await Visitor.enter(t);
  await visitor.open(link);
  await visitor.seesLive();
  await visitor.sees("Lobby connected");
  assert.deepEqual(await program.stop(), { code: 0, signal: null });
  await visitor.sees("No connection to the lobby");
  await until("the picture to be over", PATIENCE, () => visitor.page.locator("#overlay").isVisible());
  await visitor.screenshot("gone");
  await run(t, dir, { listen: address });
  await visitor.sees("Lobby connected");
  await visitor.seesLive();
});

/** Keeps what the page calls the connection from now on; the words so far. */
async function heed(visitor) {
  await visitor.page.locator("#quality-level").evaluate((level) => {
    window.levels = [level.textContent];
    new MutationObserver(() => window.levels.push(level.textContent)).observe(level, { childList: true, characterData: true, subtree: true });
  });
  return () => visitor.page.evaluate(() => window.levels);
}

test("a camera that is lost is called that, and not a poor connection", async (t) => {
  assert.ok(existsSync(FAULT_PLUGINS), `${FAULT_PLUGINS} is missing: run \`make fault-plugin\` first`);
  const dir = await place(t);
  const camera = (does) => writeFile(path.join(dir, "source"), does);
  await camera("gone");
  const env = { GST_PLUGIN_PATH: FAULT_PLUGINS, PERCH_DATA_DIR: FAULT_DATA, FAULTGATE_DIR: dir };
  const { link } = await run(t, dir, { profile: "faulty", env });
  const one = await Visitor.enter(t);
  await one.open(link);
  await one.sees("The camera has given no picture yet; it comes by itself.");
  await one.seesMotion(2);
  await one.screenshot("waiting");
  await camera("pass");
  await one.seesLive();
  await one.button(/^Connection: (Excellent|Good|Fair)/).waitFor();

  await camera("gone");
  const lost = "The camera is lost; the picture comes back by itself.";
  await one.sees(lost);
  const levels = await heed(one);
  assert.equal(await one.announced(), `Coop: ${lost}`);
  // Longer than what a quality is measured over, at the slate's two frames a second.
  await one.seesMotion(10);
  await one.page.locator("#badge:not(.live)").getByText("Camera lost", { exact: true }).waitFor();
  await one.screenshot("lost");
  assert.deepEqual(await levels(), ["–"]);

  const late = await Visitor.enter(t, { viewport: { width: 360, height: 740 }, colorScheme: "dark" });
  await late.open(link);
  await late.sees(lost);
  await late.seesMotion(2);
  await late.screenshot("lost-late");
  await late.button("All streams").click();
  await late.line("Coop").getByText("Camera lost", { exact: true }).waitFor();
  await late.screenshot("lost-list");

  await camera("pass");
  await late.line("Coop").getByText("LIVE", { exact: true }).waitFor();
  await one.seesLive();
  await one.seesNot(lost);
  await one.button(/^Connection: (Excellent|Good|Fair)/).waitFor();
  assert.deepEqual([...one.complaints, ...late.complaints], []);
});
