// The line to the lobby: cut, restarted, and lobbies with habits of their own.

import assert from "node:assert/strict";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";

import { mintToken } from "./lobby.mjs";
import { closeBrowser, Stage } from "./stage.mjs";
import { until } from "./until.mjs";

after(closeBrowser);

const hostConnects = (stage) => stage.lobby.connects((r) => r.accepted && r.user === "perch-camera");
const lives = (stage) => stage.lobby.record.filter((r) => r.kind === "live");
const JWT = /eyJ[\w-]+\.[\w-]+/;

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

test("an acknowledgement without `ok` is a yes", async (t) => {
  const stage = await Stage.set(t, { lobby: { ackHasOk: false } });
  const viewer = await stage.watcher("plain");
  await viewer.moves();
  assert.equal(lives(stage).length, 1);
  assert.deepEqual(stage.lobby.sent("live:start")[0].payload, { title: "Perch under test" });
});

test("a lobby that puts the host out when its token expires gets a fresh one, minted from the secret", async (t) => {
  const stage = await Stage.set(t, { lobby: { endsAtExpiry: true }, config: { "lobby.auth": { ttl: "30s" } } });
  const [first] = hostConnects(stage);
  assert.equal(first.claims.exp - first.claims.iat, 30);
  await stage.daemon.live(stage.lobby, { before: stage.streamId, ms: 60_000 });
  const second = hostConnects(stage).at(-1);
  assert.ok(Date.now() / 1000 >= first.claims.exp, "it was put out when its token had expired");
  assert.ok(second.claims.exp > first.claims.exp, "with a token of its own");
  assert.equal(stage.lobby.connects((r) => !r.accepted).length, 0, "no expired token was shown");
  assert.ok(hostConnects(stage).length <= 3, `${hostConnects(stage).length} connections`);
  assert.equal(stage.daemon.lines(/event="line-lost"/).length, 1, stage.daemon.log);
});

test("a token file that has expired is said to have, is not dialled with, and is taken when it is renewed", async (t) => {
  const secret = "the lobby's secret in this test";
  const dir = await mkdtemp(path.join(tmpdir(), "perch-token-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const file = path.join(dir, "token");
  const renew = async (expiresIn) => {
    await writeFile(`${file}.new`, mintToken(secret, { sub: "perch-camera" }, { expiresIn }));
    await rename(`${file}.new`, file);
  };
  await renew("10s");
  const auth = { secret_file: "", subject: "", token_file: file };
  const stage = await Stage.set(t, { lobby: { secret, endsAtExpiry: true }, config: { "lobby.auth": auth } });
  const lost = () => stage.daemon.lines(/event="line-lost"/);
  const [line] = await until("a word about the token", 60_000, () => {
    const lines = lost().filter((text) => text.includes('reason="token"'));
    return lines.length > 0 ? lines : null;
  }, () => stage.daemon.log);
  assert.match(line, /the token in \S+ expired \d+ s ago; put a new one there/);

  // Four more waits at least, if there were a dial after each.
  const dials = stage.lobby.connects().length;
  const { lobby } = await until("some attempts", 120_000, async () => {
    const status = await stage.daemon.status();
    return status.lobby.failures >= 4 ? status : null;
  }, () => stage.daemon.log, 500);
  assert.equal(lobby.cause, "token");
  assert.equal(stage.lobby.connects().length, dials, "an expired token is not dialled with");
  assert.equal(dials, 1);
  assert.ok(lost().length <= 2, `said once for each cause: ${lost().join("\n")}`);

  const renewed = Date.now();
  await renew("1h");
  await stage.daemon.live(stage.lobby, { before: stage.streamId, ms: 30_000 });
  stage.figure("from a renewed token file to live", Date.now() - renewed, "ms");
  assert.doesNotMatch(stage.daemon.log, JWT);
});
