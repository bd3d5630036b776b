// What takes its time: deadlines, slow retries, silence. These wait more than they work, so they
// run beside each other.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, describe, test } from "node:test";

import { io } from "socket.io-client";

import { closeBrowser, Stage } from "./stage.mjs";
import { until } from "./until.mjs";

after(closeBrowser);

const hostConnects = (stage) => stage.lobby.connects((r) => r.accepted && r.user === "perch-camera");
const JWT = /eyJ[\w-]+\.[\w-]+/;

describe("with patience", { concurrency: true }, () => {
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

  test("a viewer that goes while the lobby is away leaves its place", async (t) => {
    const stage = await Stage.set(t, { config: { viewers: { max: 1 } } });
    const gone = await stage.watcher("gone");
    await stage.lobby.stop();
    await gone.hangUp();
    await stage.lobby.restart();
    await stage.daemon.live(stage.lobby, { ms: 60_000 });

    const next = await stage.page("next");
    const began = Date.now();
    await until("the place of a viewer that is gone", 120_000, () => next.triesToWatch(), () => stage.daemon.log, 500);
    stage.figure("a viewer that went unseen kept its place for", Date.now() - began, "ms");
    await next.firstFrame();
    await next.moves();
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

  test("a viewer that never answers does not keep its place for ever", async (t) => {
    const stage = await Stage.set(t, { config: { viewers: { max: 1 } } });
    const mute = io(stage.lobby.url, { auth: { token: stage.lobby.token("mute") }, transports: ["websocket"], forceNew: true });
    t.after(() => mute.close());
    const offered = new Promise((resolve) => mute.once("live:signal-offer", resolve));
    await mute.emitWithAck("live:join", { streamId: stage.streamId });
    await offered;

    const viewer = await stage.page("patient");
    const began = Date.now();
    await until("the place of the mute viewer", 60_000, () => viewer.triesToWatch(), () => stage.daemon.log, 500);
    stage.figure("a mute viewer kept its place for", Date.now() - began, "ms");
    await viewer.firstFrame();
    await viewer.moves();
  });
});
