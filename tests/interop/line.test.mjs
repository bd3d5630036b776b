// The line to the lobby: refused, cut, restarted, and lobbies with habits of their own.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, test } from "node:test";

import { closeBrowser, Stage } from "./stage.mjs";
import { until } from "./until.mjs";

after(closeBrowser);

const hostConnects = (stage) => stage.lobby.connects((r) => r.accepted && r.user === "perch-camera");
const lives = (stage) => stage.lobby.record.filter((r) => r.kind === "live");
const JWT = /eyJ[\w-]+\.[\w-]+/;

test("a wrong secret gives one clear line and slow retries, and heals by itself", async (t) => {
  const wrong = randomBytes(24).toString("hex");
  const stage = await Stage.set(t, { live: false, secret: wrong });
  const refused = () => stage.lobby.connects((r) => !r.accepted);
  await until("a first refusal", 20_000, () => refused().length > 0, () => stage.daemon.log);
  const watchUntil = Date.now() + 20_000;
  await until("20 s of retries", 30_000, () => Date.now() > watchUntil);

  const attempts = refused();
  stage.figure("attempts in 20 s with a wrong secret", attempts.length, "");
  assert.ok(attempts.length <= 8, `${attempts.length} attempts in 20 s are a storm`);
  const gaps = attempts.slice(1).map((a, i) => a.at - attempts[i].at);
  assert.ok(gaps.filter((gap) => gap < 200).length <= 1, `attempts come in bursts: ${gaps} ms apart`);

  const complaints = stage.daemon.lines(/WARN|ERROR/);
  assert.equal(complaints.length, 1, `one line for one cause:\n${stage.daemon.log}`);
  assert.match(complaints[0], /secret|token/i, "it tells what to look at");
  assert.match(complaints[0], /secret_file|lobby\.auth/, "it names the setting");
  assert.doesNotMatch(stage.daemon.log, JWT, "no token in the log");
  assert.ok(!stage.daemon.log.includes(wrong), "no secret in the log");

  stage.lobby.secret = wrong;
  await stage.daemon.live(stage.lobby, { ms: 90_000 });
  assert.doesNotMatch(stage.daemon.log, JWT);
});

test("every dial brings a fresh token with a subject and an end", async (t) => {
  const stage = await Stage.set(t);
  const [first] = hostConnects(stage);
  assert.equal(first.transport, "websocket");
  assert.equal(first.claims.sub, "perch-camera");
  assert.ok(first.claims.exp > Date.now() / 1000, "it is valid now");
  await until("another second for the clock in the token", 5000, () => Date.now() > first.at + 1100);
  stage.lobby.cutHost();
  await stage.daemon.live(stage.lobby, { before: stage.streamId });
  const second = hostConnects(stage).at(-1);
  assert.ok(second.claims.iat > first.claims.iat, "minted for this dial");
  assert.doesNotMatch(stage.daemon.log, JWT);
});

test("a server restart gives a new stream and leaves old viewers their picture", async (t) => {
  const stage = await Stage.set(t);
  const old = await stage.watcher("old");
  await old.moves();
  await old.resetGap();

  await stage.lobby.stop();
  await old.moves({ times: 3, frames: 10 });
  await stage.lobby.restart();
  const began = Date.now();
  const streamId = await stage.daemon.live(stage.lobby, { ms: 60_000 });
  stage.figure("live again after the server's return", Date.now() - began, "ms");
  assert.notEqual(streamId, stage.streamId);

  const fresh = await stage.watcher("fresh");
  await Promise.all([old.moves(), fresh.moves()]);
  const { longestGapMs, connection } = await old.report();
  assert.equal(connection, "connected");
  stage.figure("an old viewer's longest gap across the restart", longestGapMs, "ms");
  assert.ok(longestGapMs < 3000, `the old picture stood still for ${longestGapMs} ms`);
  assert.equal(stage.lobby.sent("live:signal-offer", (r) => r.payload.to === old.id).length, 1, "no second offer");
  for (const viewer of [old, fresh]) assert.deepEqual(await viewer.complaints(), [], viewer.name);
});

test("a viewer that goes while the lobby is away leaves its place", async (t) => {
  const stage = await Stage.set(t, { config: { viewers: { max: 1 } } });
  const gone = await stage.watcher("gone");
  await stage.lobby.stop();
  await gone.hangUp();
  await stage.lobby.restart();
  await stage.daemon.live(stage.lobby, { ms: 60_000 });

  const next = await stage.page("next");
  const began = Date.now();
  await until("the place of a viewer that is gone", 60_000, () => next.triesToWatch(), () => stage.daemon.log, 500);
  stage.figure("a viewer that went unseen kept its place for", Date.now() - began, "ms");
  await next.firstFrame();
  await next.moves();
});

test("a connection that is cut in the middle is replaced", async (t) => {
  const stage = await Stage.set(t);
  const viewer = await stage.watcher("steady");
  stage.lobby.cutHost();
  const streamId = await stage.daemon.live(stage.lobby, { before: stage.streamId, ms: 60_000 });
  await viewer.moves();
  await viewer.leave();
  await viewer.watch(streamId);
  await viewer.firstFrame();
  await viewer.moves();
});

test("a lobby that disconnects the namespace is dialled again", async (t) => {
  const stage = await Stage.set(t);
  const viewer = await stage.watcher("steady");
  let streamId = stage.streamId;
  for (let n = 0; n < 2; n += 1) {
    stage.lobby.disconnectHost();
    streamId = await stage.daemon.live(stage.lobby, { before: streamId, ms: 60_000 });
    await viewer.moves();
  }
  assert.equal(lives(stage).length, 3);
  assert.ok(hostConnects(stage).length >= 3);
  await stage.watcher("late");
});

test("a lobby that never acknowledges live:start is asked again, slowly", async (t) => {
  const stage = await Stage.set(t, { live: false, lobby: { ackStart: false } });
  await until("a second live:start", 60_000, () => stage.lobby.sent("live:start").length >= 2, () => stage.daemon.log);
  const [first, second] = stage.lobby.sent("live:start");
  stage.figure("time between two unanswered live:start", second.at - first.at, "ms");
  assert.ok(second.at - first.at > 1000, "not in a hurry");
  assert.ok(stage.daemon.alive);
  stage.lobby.options.ackStart = true;
  await stage.daemon.live(stage.lobby, { ms: 60_000 });
});

test("an acknowledgement without `ok` is a yes", async (t) => {
  const stage = await Stage.set(t, { lobby: { ackHasOk: false } });
  const viewer = await stage.watcher("plain");
  await viewer.moves();
  assert.equal(lives(stage).length, 1);
  assert.deepEqual(stage.lobby.sent("live:start")[0].payload, { title: "Perch under test" });
});

test("the server's pings are answered for as long as it likes", async (t) => {
  const stage = await Stage.set(t, { lobby: { pingInterval: 300, pingTimeout: 2000 } });
  const until10 = Date.now() + 8000;
  await until("many pings", 20_000, () => Date.now() > until10);
  assert.equal(hostConnects(stage).length, 1, "one connection all the time");
  assert.equal(stage.lobby.stream.streamId, stage.streamId);
});

test("a server that falls silent is given up and dialled again", async (t) => {
  const stage = await Stage.set(t, { lobby: { pingInterval: 1000, pingTimeout: 1000, chatter: false } });
  stage.lobby.freezeHost();
  await stage.daemon.live(stage.lobby, { before: stage.streamId, ms: 60_000 });
});
