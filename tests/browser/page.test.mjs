// The page as a person uses it: the embedded lobby serves it, hosts are browser pages.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { until } from "../interop/until.mjs";
import { Stage } from "./stage.mjs";
import { closeBrowser, PATIENCE } from "./visitor.mjs";

after(closeBrowser);

test("the watch link shows the only stream by itself and leaves the address bar", async (t) => {
  const stage = await Stage.set(t);
  await stage.host();
  const visitor = await stage.visitor();
  await visitor.open(stage.link);
  await visitor.seesLive();
  assert.equal(visitor.page.url(), `${stage.url}/`);
  assert.equal(await visitor.announced(), "Coop: live");
  await visitor.sees("1 watching");
  await visitor.screenshot("live");

  // A reload goes on watching; another tab shows the list, with the key that was kept.
  await visitor.page.reload();
  await visitor.seesLive();
  await visitor.newTab();
  await visitor.open(stage.url);
  await visitor.line("Coop").getByText("LIVE", { exact: true }).waitFor();
  await visitor.watch("Coop");
  await visitor.seesLive();
  assert.deepEqual(visitor.complaints, []);
});

test("the list updates by itself and shows titles as text", async (t) => {
  const stage = await Stage.set(t);
  const visitor = await stage.visitor();
  await visitor.open(stage.link);
  await visitor.sees("Nobody is live");
  await visitor.screenshot("nobody");
  await visitor.button("Forget the watch link").click();
  await visitor.sees("Open with the watch link");

  const hostile = "<img src=x onerror=document.title=1> & a title that is long enough to need a second line on a phone";
  const coop = await stage.host();
  await stage.host({ title: hostile, user: "yard" });
  await visitor.open(stage.link);
  await visitor.line(hostile).waitFor();
  await visitor.line("Coop").getByText("0 watching").waitFor();
  assert.equal(await visitor.page.title(), "Perch");
  await visitor.screenshot("two");

  const other = await stage.visitor();
  await other.open(stage.link);
  await other.watch("Coop");
  await visitor.line("Coop").getByText("1 watching").waitFor();
  await other.seesLive();
  await other.button("All streams").click();
  await visitor.line("Coop").getByText("0 watching").waitFor();

  await coop.end();
  await until("the line to go", PATIENCE, async () => (await visitor.line("Coop").count()) === 0);
  await visitor.line(hostile).waitFor();
  assert.deepEqual(visitor.complaints, []);
});

test("a stream that ends says so and goes on when it is back", async (t) => {
  const stage = await Stage.set(t);
  const host = await stage.host();
  const visitor = await stage.visitor();
  await visitor.open(stage.link);
  await visitor.seesLive();
  await host.end();
  await visitor.page.locator("#state").getByText("Ended").waitFor();
  await visitor.screenshot("ended");
  assert.match(await visitor.announced(), /^Coop: Ended/);
  await host.goLive();
  await visitor.seesLive();
  await visitor.button("All streams").click();
  await visitor.line("Coop").waitFor();
});

test("a host that loses its line keeps its viewers' picture", async (t) => {
  const stage = await Stage.set(t);
  const host = await stage.host();
  const visitor = await stage.visitor();
  await visitor.open(stage.link);
  await visitor.seesLive();
  const [before, picture] = [await host.streamId(), await visitor.picture()];
  await host.blink();
  await until("a new stream id", PATIENCE, async () => (await host.streamId()) !== before);
  await visitor.sees("0 watching");
  await visitor.seesLive();
  assert.ok((await visitor.picture()).frames > picture.frames, "the same connection went on");
  assert.equal(await host.branches(), 1);
});

test("a visitor that loses its line keeps the picture and takes a new place", async (t) => {
  const stage = await Stage.set(t);
  const host = await stage.host();
  const visitor = await stage.visitor();
  await visitor.open(stage.link);
  await visitor.seesLive();
  await visitor.sees("Lobby connected");
  const before = await host.page.evaluate(() => [...window.host.branches.keys()]);
  await visitor.cutLine();
  await until("a branch under another name, and only that", PATIENCE, async () => {
    const now = await host.page.evaluate(() => [...window.host.branches.keys()]);
    return now.length === 1 && now[0] !== before[0];
  });
  await visitor.sees("1 watching");
  await visitor.seesLive();
});

test("the lobby restarts and the picture stays", async (t) => {
  const stage = await Stage.set(t);
  const host = await stage.host();
  const visitor = await stage.visitor();
  await visitor.open(stage.link);
  await visitor.seesLive();
  const picture = await visitor.picture();
  await stage.lobby.stop();
  await visitor.sees("No connection to the lobby");
  await visitor.seesLive();
  await visitor.screenshot("no-lobby");
  await stage.openLobby();
  await visitor.sees("Lobby connected");
  await visitor.sees("0 watching");
  await visitor.seesLive();
  assert.ok((await visitor.picture()).frames > picture.frames, "the same connection went on");
  assert.equal(await host.branches(), 1);
});

test("a connection that the host drops is made anew", async (t) => {
  const stage = await Stage.set(t);
  const host = await stage.host();
  const visitor = await stage.visitor();
  await visitor.open(stage.link);
  await visitor.seesLive();
  await host.dropAll();
  await visitor.page.locator("#badge").getByText("Reconnecting").waitFor();
  await visitor.screenshot("reconnecting");
  await visitor.seesLive();
  assert.equal(await host.branches(), 1);
});

test("a full camera says so and lets the next one in when there is a place", async (t) => {
  const stage = await Stage.set(t);
  await stage.host({ max: 1 });
  const first = await stage.visitor();
  await first.open(stage.link);
  await first.seesLive();
  const second = await stage.visitor();
  await second.open(stage.link);
  await second.sees("The camera is full");
  await second.sees("Its only place is taken.");
  await second.screenshot("full");
  await first.seesMotion();
  await first.button("All streams").click();
  await second.seesLive();
});

test("a wrong key is turned away, and the right link lets in", async (t) => {
  const stage = await Stage.set(t);
  await stage.host();
  const visitor = await stage.visitor();
  await visitor.open(stage.url);
  await visitor.sees("Open with the watch link");
  await visitor.open(`${stage.url}/#${"x".repeat(22)}`);
  await visitor.sees("This watch link is wrong, or it has been renewed.");
  await visitor.screenshot("wrong");
  assert.doesNotMatch(visitor.page.url(), /x{22}/);

  const field = visitor.page.getByLabel("Watch link or key");
  await field.fill("hello");
  await field.press("Enter");
  await visitor.sees("This is no watch link.");
  await field.fill(`http://192.0.2.7/#${stage.key}`);
  await field.press("Enter");
  await visitor.sees("This link belongs to another device.");
  await field.fill(stage.link);
  await field.press("Enter");
  await visitor.seesLive();
  assert.deepEqual(visitor.complaints, []);
});

test("video that the browser cannot decode is called that", async (t) => {
  const stage = await Stage.set(t);
  await stage.host({ codec: "NONESUCH" });
  const visitor = await stage.visitor();
  await visitor.open(stage.link);
  await visitor.sees("This browser cannot decode the camera's video");
  await visitor.button("Try again").waitFor();
  await visitor.screenshot("codec");
});

test("everything goes by keyboard", async (t) => {
  const stage = await Stage.set(t);
  await stage.host();
  await stage.host({ title: "Yard", user: "yard" });
  const visitor = await stage.visitor();
  const { keyboard } = visitor.page;
  await visitor.open(stage.link);
  await visitor.line("Yard").waitFor();

  const tabTo = (name) =>
    until(`the focus to come to ${name}`, PATIENCE, async () => {
      await keyboard.press("Tab");
      return (await visitor.focused())?.trim() === name;
    }, () => visitor.focused());

  await tabTo("Watch Yard");
  await visitor.screenshot("focus");
  await keyboard.press("Enter");
  await visitor.seesLive();
  assert.equal(await visitor.focused(), "Yard", "the focus is on the player's heading");

  await visitor.button("Turn sound on").waitFor();
  assert.equal((await visitor.picture()).muted, true);
  await keyboard.press("m");
  assert.equal((await visitor.picture()).muted, false);
  await visitor.button("Mute").waitFor();
  await visitor.seesNot("Turn sound on");
  await keyboard.press("m");
  assert.equal((await visitor.picture()).muted, true);

  const isFull = () => visitor.page.evaluate(() => document.fullscreenElement !== null);
  await keyboard.press("f");
  await until("full screen", PATIENCE, isFull);
  await visitor.button("Leave full screen").waitFor();
  await visitor.screenshot("full-screen");
  await keyboard.press("f");
  await until("no full screen", PATIENCE, async () => !(await isFull()));

  await tabTo("All streams");
  await keyboard.press("Escape");
  await visitor.line("Yard").waitFor();
  assert.equal(await visitor.focused(), "Watch Yard", "the focus is back where it came from");
  await keyboard.press("Space");
  await visitor.seesLive();
  await visitor.page.goBack();
  await visitor.line("Yard").waitFor();
});

test("the connection's quality is shown in words and numbers", async (t) => {
  const stage = await Stage.set(t);
  await stage.host();
  const visitor = await stage.visitor();
  await visitor.open(stage.link);
  await visitor.seesLive();
  const quality = visitor.button(/^Connection: (Excellent|Good|Fair|Poor).*bit\/s · \d+ fps · .* loss$/);
  await quality.waitFor();
  await quality.click();
  await visitor.sees("640×360");
  for (const term of ["Resolution", "Frame rate", "Bit rate", "Round trip", "Packet loss", "Jitter buffer", "Codec"]) {
    await visitor.sees(term);
  }
  await visitor.screenshot("details");
});

/** Keeps what the page calls the connection from now on; the words so far. */
async function heed(visitor) {
  await visitor.page.locator("#quality-level").evaluate((level) => {
    window.levels = [level.textContent];
    new MutationObserver(() => window.levels.push(level.textContent)).observe(level, { childList: true, characterData: true, subtree: true });
  });
  return () => visitor.page.evaluate(() => window.levels);
}

test("a smaller picture is called that, with the reason, for as long as it is sent", async (t) => {
  const stage = await Stage.set(t);
  const host = await stage.host({ title: "Coop, the camera over the nesting boxes" });
  const desk = await stage.visitor();
  const phone = await stage.visitor({ viewport: { width: 360, height: 740 }, colorScheme: "dark" });
  const visitors = [desk, phone];
  for (const visitor of visitors) {
    await visitor.open(stage.link);
    await visitor.seesLive();
    await visitor.button(/^Connection: (Excellent|Good|Fair)/).click();
    await visitor.sees("Full size");
    await visitor.seesNot("Smaller picture");
  }
  await desk.button(/^Connection: /).click();
  const before = await desk.page.locator("#stage").boundingBox();
  await desk.button(/^Connection: /).click();
  const levels = await heed(desk);

  await host.send("second", "bandwidth");
  for (const visitor of visitors) {
    await visitor.sees("Smaller: your connection or computer does not keep up with the full one");
    await visitor.button(/^Connection: \w+ ?Smaller picture: your connection or computer does not keep up with the full one/).waitFor();
    await visitor.sees("320×180");
    await visitor.seesLive();
    await visitor.screenshot(`${visitor === desk ? "desk" : "phone"}-details`);
    await visitor.button(/^Connection: /).click();
    await visitor.page.getByTitle("Smaller picture: your connection or computer does not keep up with the full one").waitFor();
    await visitor.screenshot(visitor === desk ? "desk" : "phone");
  }
  await desk.page.emulateMedia({ colorScheme: "dark" });
  await desk.screenshot("desk-dark");
  await phone.page.emulateMedia({ colorScheme: "light" });
  await phone.screenshot("phone-light");
  assert.deepEqual(await desk.page.locator("#stage").boundingBox(), before, "it is shown as large as the other");

  await host.send("second", "loss");
  await phone.page.getByTitle("Smaller picture: too many packets are lost").waitFor();
  await host.send("first", "retry");
  for (const visitor of visitors) {
    await visitor.seesNot("Smaller picture");
    await visitor.button(/^Connection: /).click();
    await visitor.sees("640×360");
    await visitor.sees("Full size");
  }
  // Poor it may be, where the machine is too busy to draw.
  for (const level of await levels()) assert.match(level, /^(Excellent|Good|Fair|Poor)$/);

  // A new connection begins with the full picture.
  await host.send("second", "bandwidth");
  await desk.sees("Smaller: your connection");
  await host.dropAll();
  await desk.page.locator("#badge").getByText("Reconnecting").waitFor();
  await desk.seesNot("Smaller picture");
  await desk.seesLive();
  await desk.sees("Full size");
  assert.deepEqual([...desk.complaints, ...phone.complaints], []);
});
