// The embedded lobby against the client that pages use: npm's socket.io-client.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";

import { io } from "socket.io-client";

import { EmbeddedLobby } from "./embedded.mjs";
import { mintToken } from "./lobby.mjs";
import { until } from "./until.mjs";

const DEADLINE = 20_000;
const secret = randomBytes(32).toString("hex");
/** @type {EmbeddedLobby} */
let lobby;
const open = [];

before(async () => { lobby = await EmbeddedLobby.start({ secret }); });
after(async () => {
  for (const socket of open) socket.disconnect();
  await lobby.stop();
});

/** A socket that keeps what it hears. */
class Participant {
  heard = [];

  constructor(token, options = {}) {
    this.socket = io(options.url ?? lobby.url, {
      transports: ["websocket"],
      forceNew: true,
      reconnection: false,
      auth: typeof token === "function" ? token : { token },
      ...options,
    });
    open.push(this.socket);
    this.socket.onAny((event, ...args) => this.heard.push({ event, args }));
  }

  static async connect(token, options) {
    const self = new Participant(token, options);
    await self.until("connect", () => self.socket.connected);
    return self;
  }

  static host(name = "host") {
    return Participant.connect(mintToken(secret, { userId: name }));
  }

  static async viewer() {
    const { token } = await (await lobby.redeem()).json();
    return Participant.connect(token);
  }

  get id() { return this.socket.id; }

  ask(event, ...args) { return this.socket.timeout(DEADLINE).emitWithAck(event, ...args); }

  async goLive(title = "Nest") {
    const { ok, streamId } = await this.ask("live:start", { title });
    assert.equal(ok, true);
    return streamId;
  }

  until(what, look) { return until(what, DEADLINE, look, () => this.heard, 10); }

  /** The next event of this name that was not taken before; it must carry one argument. */
  async event(name) {
    const at = (await this.until(name, () => this.heard.some((h) => h.event === name) && {
      index: this.heard.findIndex((h) => h.event === name),
    })).index;
    const [{ args }] = this.heard.splice(at, 1);
    assert.equal(args.length, 1);
    return args[0];
  }

  /** What was heard so far but for the list; the lobby answers in order, so nothing is under way to us. */
  async all() {
    await this.ask("live:list");
    return this.heard.filter((h) => h.event !== "live:update").map((h) => h.event);
  }
}

test("a host and a viewer find each other and exchange everything", async () => {
  const host = await Participant.host("user-7");
  const streamId = await host.goLive("  The nest\u0007 ");
  const viewer = await Participant.viewer();

  const list = await viewer.ask("live:list");
  const listed = list.find((s) => s.streamId === streamId);
  assert.equal(listed.title, "The nest");
  assert.equal(listed.hostUserId, "user-7");
  assert.equal(listed.viewers, 0);
  assert.equal(new Date(listed.startedAt).toISOString(), listed.startedAt);
  assert.ok(Math.abs(Date.now() - Date.parse(listed.startedAt)) < 60_000);

  assert.equal(await viewer.ask("live:join", { streamId }), true);
  assert.deepEqual(await host.event("live:viewer-join"), { streamId, viewerSocketId: viewer.id });

  const offer = { type: "offer", sdp: "v=0\r\na=msid:ä 🐦\r\n" };
  host.socket.emit("live:signal-offer", { streamId, to: viewer.id, offer });
  assert.deepEqual(await viewer.event("live:signal-offer"), { streamId, offer });

  const answer = { type: "answer", sdp: "v=0\r\n" };
  viewer.socket.emit("live:signal-answer", { streamId, answer });
  assert.deepEqual(await host.event("live:signal-answer"), { streamId, from: viewer.id, answer });

  const candidate = { candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host", sdpMid: "0", sdpMLineIndex: 0, usernameFragment: "u" };
  host.socket.emit("live:signal-ice", { streamId, to: viewer.id, candidate });
  assert.deepEqual(await viewer.event("live:signal-ice"), { streamId, from: host.id, candidate });
  for (const mine of [candidate, { candidate: "" }, null]) {
    viewer.socket.emit("live:signal-ice", { streamId, candidate: mine });
    assert.deepEqual(await host.event("live:signal-ice"), { streamId, from: viewer.id, candidate: mine });
  }
  // What a page sends when its candidate is `undefined`.
  viewer.socket.emit("live:signal-ice", { streamId, candidate: undefined });
  assert.deepEqual(await host.event("live:signal-ice"), { streamId, from: viewer.id, candidate: null });

  viewer.socket.emit("live:leave", { streamId });
  assert.deepEqual(await host.event("live:viewer-left"), { streamId, viewerSocketId: viewer.id });

  assert.equal(await viewer.ask("live:join", { streamId }), true);
  host.socket.emit("live:end", { streamId });
  assert.deepEqual(await viewer.event("live:ended"), { streamId });
  assert.equal(await viewer.ask("live:join", { streamId }), false);
});

test("everybody hears of every change, whoever they are", async () => {
  const bystander = await Participant.viewer();
  const host = await Participant.host();
  const streamId = await host.goLive("For all");
  const viewersSeen = (n) => bystander.until(`${n} viewers`, () => {
    const last = bystander.heard.findLast((h) => h.event === "live:update");
    return last?.args[0].find((s) => s.streamId === streamId)?.viewers === n;
  });
  await viewersSeen(0);
  const viewer = await Participant.viewer();
  await viewer.ask("live:join", { streamId });
  await viewersSeen(1);
  viewer.socket.disconnect();
  await viewersSeen(0);
  host.socket.disconnect();
  await bystander.until("an end", () => {
    const last = bystander.heard.findLast((h) => h.event === "live:update");
    return last && !last.args[0].some((s) => s.streamId === streamId);
  });
});

test("a token is demanded, and the error is the one that clients know", async () => {
  for (const [what, auth] of [
    ["none", {}],
    ["garbage", { token: "garbage" }],
    ["another secret", { token: mintToken("another secret, long enough too", { id: "x" }) }],
    ["expired", { token: mintToken(secret, { id: "x" }, { expiresIn: -120 }) }],
    ["for ever", { token: mintToken(secret, { id: "x" }, {}) }],
    ["nobody's", { token: mintToken(secret, { name: "x" }) }],
  ]) {
    const refused = new Participant(null, { auth });
    let message = null;
    refused.socket.on("connect_error", (error) => { message = error.message; });
    await refused.until(`a refusal (${what})`, () => message !== null);
    assert.equal(message, "Authentication error", what);
  }
});

test("the watch link lets watch and nothing more", async () => {
  assert.equal((await lobby.redeem("wrong")).status, 403);
  assert.ok(lobby.watchLink.endsWith(`/#${lobby.watchKey}`));
  const { token, expiresIn } = await (await lobby.redeem()).json();
  assert.equal(expiresIn, 4 * 3600);
  const viewer = await Participant.connect(token);
  const started = await viewer.ask("live:start", { title: "mine" });
  assert.equal(started.ok, false);
  assert.equal(started.streamId, undefined);
});

test("nobody speaks for another", async () => {
  const host = await Participant.host();
  const streamId = await host.goLive();
  const viewer = await Participant.viewer();
  await viewer.ask("live:join", { streamId });
  await host.event("live:viewer-join");
  const stranger = await Participant.host("stranger");
  await stranger.goLive("Elsewhere");
  const fellow = await Participant.viewer();
  await fellow.ask("live:join", { streamId });
  await host.event("live:viewer-join");
  const sdp = { type: "offer", sdp: "evil" };
  for (const evil of [stranger, fellow]) {
    evil.socket.emit("live:signal-offer", { streamId, to: viewer.id, offer: sdp });
    evil.socket.emit("live:viewer-refused", { streamId, to: viewer.id, reason: "full", max: 1 });
    evil.socket.emit("live:end", { streamId });
    evil.socket.emit("live:ended", { streamId });
    evil.socket.emit("live:update", []);
  }
  stranger.socket.emit("live:signal-answer", { streamId, from: viewer.id, answer: sdp });
  stranger.socket.emit("live:signal-ice", { streamId, from: viewer.id, candidate: null });
  stranger.socket.emit("live:signal-ice", { streamId, to: viewer.id, candidate: null });
  for (const evil of [stranger, fellow]) assert.deepEqual(await evil.all(), []);
  assert.deepEqual(await host.all(), []);
  assert.deepEqual(await viewer.all(), []);
});

test("a full host's refusal reaches the viewer", async () => {
  const host = await Participant.host();
  const streamId = await host.goLive();
  const viewer = await Participant.viewer();
  await viewer.ask("live:join", { streamId });
  host.socket.emit("live:viewer-refused", { streamId, to: viewer.id, reason: "full", max: 3 });
  assert.deepEqual(await viewer.event("live:refused"), { streamId, reason: "full", max: 3 });
  assert.equal((await viewer.ask("live:list")).find((s) => s.streamId === streamId).viewers, 0);
});

test("what does not belong here is ignored", async () => {
  const host = await Participant.host();
  const streamId = await host.goLive();
  const viewer = await Participant.viewer();
  viewer.socket.emit("typing:start", { conversationId: 1 });
  viewer.socket.emit("message:send", "text", 3, null, [true]);
  viewer.socket.emit("live:join", Buffer.from([1, 2, 3]));
  viewer.socket.emit("live:join", { streamId: Buffer.from([1]) });
  viewer.socket.emit("live:join");
  viewer.socket.emit("live:join", streamId);
  assert.equal(await viewer.ask("live:join", { streamId }), true);
  assert.deepEqual(await host.event("live:viewer-join"), { streamId, viewerSocketId: viewer.id });
  assert.deepEqual(await host.all(), []);
});

test("a client that wants long polling gets an error, not silence", async () => {
  const polling = new Participant(mintToken(secret, { id: "x" }), { transports: ["polling"] });
  let error = null;
  polling.socket.on("connect_error", (e) => { error = e; });
  await polling.until("an error", () => error !== null);
  assert.equal(polling.socket.connected, false);
});

test("after a restart of the lobby clients come back by themselves, and SIGTERM is a clean end", async () => {
  const first = await EmbeddedLobby.start({ secret });
  const { port, url } = first;
  const reconnecting = { url, reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 };
  // A fresh token for every connect, as a page has to do it.
  const auth = (give) => give({ token: mintToken(secret, { id: "host" }) });
  const host = await Participant.connect(auth, reconnecting);
  const oldStream = await host.goLive();
  let gone = null;
  host.socket.on("disconnect", (reason) => { gone = reason; });
  assert.deepEqual(await first.stop(), { code: 0, signal: null });
  await host.until("the disconnect", () => gone !== null);
  assert.equal(gone, "transport close");

  const second = await EmbeddedLobby.start({ secret, port });
  try {
    await host.until("the reconnect", () => host.socket.connected);
    assert.deepEqual(await host.ask("live:list"), []);
    assert.notEqual(await host.goLive(), oldStream);
  } finally {
    host.socket.disconnect();
    assert.deepEqual(await second.stop(), { code: 0, signal: null });
  }
});
