// Viewers without manners and in any number: whoever watches does not notice.

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { networkInterfaces } from "node:os";
import { after, test } from "node:test";

import { plausibleAnswer } from "./sdp.mjs";
import { closeBrowser, Stage } from "./stage.mjs";
import { until } from "./until.mjs";

after(closeBrowser);

/** How long the watcher's picture may stand still on a loaded machine. */
const GAP_MS = 2000;
const PLACES = 25;

const told = (stage, event, filter = () => true) => stage.lobby.sent(event, (r) => filter(r.payload));
const refusedAs = (stage, reason) => told(stage, "live:viewer-refused", (p) => p.reason === reason);

/** What the lobby would say to the host if such a viewer had a socket there. */
class Ghost {
  constructor(stage, name) {
    Object.assign(this, { stage, name, streamId: stage.streamId });
  }
  join() {
    this.stage.lobby.emitToHost("live:viewer-join", { streamId: this.streamId, viewerSocketId: this.name });
  }
  leave() {
    this.stage.lobby.emitToHost("live:viewer-left", { streamId: this.streamId, viewerSocketId: this.name });
  }
  answer(sdp) {
    this.stage.lobby.emitToHost("live:signal-answer", { streamId: this.streamId, from: this.name, answer: { type: "answer", sdp } });
  }
  candidate(address, port = 9) {
    const candidate = { candidate: `candidate:1 1 udp 2122260223 ${address} ${port} typ host`, sdpMid: null, sdpMLineIndex: 0 };
    this.stage.lobby.emitToHost("live:signal-ice", { streamId: this.streamId, from: this.name, candidate });
  }
  offers() {
    return told(this.stage, "live:signal-offer", (p) => p.to === this.name);
  }
}

async function underWatch(t) {
  const stage = await Stage.set(t, { config: { viewers: { max: PLACES } } });
  stage.watching = await stage.watcher("permanent");
  await stage.watching.moves();
  stage.before = await stage.daemon.resources();
  await stage.watching.resetGap();
  return stage;
}

async function allIsWell(stage) {
  const { longestGapMs, connection } = await stage.watching.moves();
  stage.figure("the watcher's longest gap", longestGapMs, "ms");
  assert.ok(stage.daemon.alive, `the host ended: ${stage.daemon.log.slice(-3000)}`);
  assert.equal(connection, "connected");
  assert.ok(longestGapMs < GAP_MS, `the watcher's picture stood still for ${longestGapMs} ms`);
  assert.deepEqual(await stage.watching.complaints(), []);
}

test("one viewer that joins and leaves without end costs nobody a frame", async (t) => {
  const stage = await underWatch(t);
  const ghost = new Ghost(stage, "restless");
  for (let n = 0; n < 3000; n += 1) {
    ghost.join();
    ghost.leave();
  }
  const last = new Ghost(stage, "afterwards");
  await until("the end of the storm", 30_000, () => refusedAs(stage, "busy").length >= 2900, () => ({ busy: refusedAs(stage, "busy").length }));
  stage.figure("branches for 3000 joins of one viewer", ghost.offers().length, "");
  assert.ok(ghost.offers().length <= 20, `${ghost.offers().length} offers`);
  await until("an offer for somebody else", 20_000, () => {
    if (last.offers().length > 0) return true;
    last.join();
    return false;
  }, () => stage.daemon.log.slice(-2000), 500);
  await allIsWell(stage);
});

test("a flood of new names is told that the host is busy, and a page comes in afterwards", async (t) => {
  const stage = await underWatch(t);
  for (let n = 0; n < 3000; n += 1) {
    const ghost = new Ghost(stage, `name-${n}`);
    ghost.join();
    if (n % 2) ghost.leave();
  }
  await until("refusals", 30_000, () => refusedAs(stage, "busy").length + refusedAs(stage, "full").length > 2500, () => ({ busy: refusedAs(stage, "busy").length, full: refusedAs(stage, "full").length }));
  const { threads } = await stage.daemon.resources();
  stage.figure("threads in the flood", threads - stage.before.threads, "");
  const late = await stage.page("late");
  const began = Date.now();
  await until("a place after the flood", 60_000, () => late.triesToWatch(), () => stage.daemon.log.slice(-3000), 500);
  stage.figure("a page waits after the flood", Date.now() - began, "ms");
  await late.firstFrame(30_000);
  await allIsWell(stage);
});

test("viewers that never answer hold half of the places at most, and are told when there is no room", async (t) => {
  const stage = await underWatch(t);
  const mute = Array.from({ length: PLACES - 1 }, (_, n) => new Ghost(stage, `mute-${n}`));
  for (const ghost of mute) ghost.join();
  await until("a word for those who wait in vain", 40_000, () => refusedAs(stage, "busy").length > 0, () => stage.daemon.log.slice(-2000));
  const offered = mute.filter((ghost) => ghost.offers().length > 0).length;
  stage.figure("offers to viewers that never answer", offered, "");
  assert.ok(offered <= Math.ceil(PLACES / 2), `${offered} of ${mute.length} hold a branch`);
  await allIsWell(stage);
});

/** Listens for connectivity checks at one of this machine's addresses. */
async function trap(t, address) {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  socket.bind(0, address);
  await once(socket, "listening");
  t.after(() => socket.close());
  const caught = { port: socket.address().port, checks: 0 };
  socket.on("message", () => (caught.checks += 1));
  return caught;
}

const outside = () => Object.values(networkInterfaces()).flat().find((one) => !one.internal && one.family === "IPv4")?.address;

test("answers and candidates that point to the device itself or to nobody are not followed", async (t) => {
  const stage = await underWatch(t);
  const own = outside();
  assert.ok(own, "this needs a network interface");
  const [loopback, control] = [await trap(t, "127.0.0.1"), await trap(t, own)];
  const ghosts = Array.from({ length: 6 }, (_, n) => new Ghost(stage, `pointing-${n}`));
  for (const ghost of ghosts) ghost.join();
  await until("offers", 20_000, () => ghosts.every((ghost) => ghost.offers().length > 0), () => stage.daemon.log.slice(-2000));
  for (const ghost of ghosts) {
    const sdp = plausibleAnswer(ghost.offers()[0].payload.offer.sdp);
    for (let n = 0; n < 100; n += 1) ghost.answer(sdp);
    ghost.candidate("127.0.0.1", loopback.port);
    ghost.candidate("::ffff:127.0.0.1", loopback.port);
    ghost.candidate(own, control.port);
    for (const address of ["127.0.0.1", "::1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"]) {
      for (let n = 0; n < 200; n += 1) ghost.candidate(address, 1 + n);
    }
  }
  await until("the end of those who cannot be reached", 60_000, () =>
    stage.daemon.lines(/event="viewer-ended"/).length >= ghosts.length, () => stage.daemon.log.slice(-3000));
  assert.ok(control.checks > 0, "a viewer on the network is looked for");
  assert.equal(loopback.checks, 0, "nobody is looked for on the device itself");
  const { rssKb } = await stage.daemon.resources();
  stage.figure("memory gained", (rssKb - stage.before.rssKb) / 1024, "MB");
  await allIsWell(stage);
});
