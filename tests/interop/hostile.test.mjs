// Whatever comes in, the others keep their picture.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { io } from "socket.io-client";

import { plausibleAnswer } from "./sdp.mjs";
import { closeBrowser, Stage } from "./stage.mjs";
import { until } from "./until.mjs";

after(closeBrowser);

/** How long the watcher's picture may stand still on a loaded machine. */
const GAP_MS = 2000;

/** What a flood of candidates may cost in memory: two branches of some megabytes each, and nothing for each candidate. */
const FLOOD_MB = 32;

const deep = (levels) => "[".repeat(levels) + "]".repeat(levels);
const event = (...args) => `42${JSON.stringify(args)}`;

/** Frames below Socket.IO: each is valid WebSocket and nothing else is promised. */
const GARBAGE_FRAMES = {
  "an empty frame": "",
  "an unknown packet type": "9what",
  "not a packet": "hello",
  "a lone message": "4",
  "a noop": "6",
  "an upgrade": "5",
  "a second handshake": '0{"sid":"x","upgrades":[],"pingInterval":1,"pingTimeout":1,"maxPayload":1}',
  "a broken handshake": "0{",
  "a pong to nobody": "3probe",
  "half an event": '42["live:viewer-join",{"streamId":',
  "an event that is no array": '42{"streamId":"x"}',
  "an event without a name": "42[]",
  "an event whose name is a number": "42[1,2]",
  "an acknowledgement of nothing": "43999[true]",
  "an acknowledgement with a huge id": `43${"9".repeat(40)}[{"ok":true,"streamId":"evil"}]`,
  "an acknowledgement of live:start once more": '430[{"ok":true,"streamId":"evil"}]',
  "another namespace": '42/admin,["live:viewer-join",{}]',
  "another namespace's refusal": '44/admin,{"message":"Authentication error"}',
  "an unknown socket packet type": '47["x"]',
  "deep nesting": `42["user:online",${deep(100_000)}]`,
  "many events at once": event("typing:start", { userId: "x".repeat(100) }).repeat(50),
  "control characters": '42["\u0000\u0001\u001e","\\ud800"]',
};

/** Binary, in frames and in packets. */
const BINARY_FRAMES = {
  "a binary frame": Buffer.from([4, 1, 2, 3, 255]),
  "an empty binary frame": Buffer.alloc(0),
  "a large binary frame": Buffer.alloc(512 * 1024, 0xaa),
  "a binary event's head without its attachment": '451-["live:signal-answer",{"_placeholder":true,"num":0}]',
  "a binary acknowledgement's head": "461-0[{\"_placeholder\":true,\"num\":0}]",
  "a binary event with a billion attachments": '451000000000-["x"]',
};

/** Payloads of the host's own events with everything wrong that JSON allows. */
const ODD_PAYLOADS = [
  [], [null], [undefined, null], [0], [-1], ["text"], [true], [[]], [{}], [[[[]]]],
  [{ streamId: null, viewerSocketId: null }],
  [{ streamId: 7, viewerSocketId: {} }],
  [{ streamId: "nobody's", viewerSocketId: "v" }],
  [{ streamId: "LIVE", viewerSocketId: "" }],
  [{ streamId: "LIVE", viewerSocketId: ["x"] }],
  [{ streamId: "LIVE", from: null, answer: null, candidate: null }],
  [{ streamId: "LIVE", from: "stranger", answer: { type: "answer", sdp: "v=0\r\n" }, candidate: { candidate: "x" } }],
  [{ streamId: "LIVE", from: "stranger", answer: "v=0", candidate: "candidate:" }],
  [{ streamId: "LIVE", from: "x".repeat(100_000), answer: { type: "offer", sdp: 7 }, candidate: 7 }],
  [{ streamId: "LIVE", from: "stranger", answer: {}, candidate: { candidate: 7, sdpMLineIndex: -1 } }],
  [{ streamId: "LIVE", from: "stranger", candidate: { candidate: "candidate:1", sdpMLineIndex: 1e300, sdpMid: {} } }],
];
const HOST_EVENTS = ["live:viewer-join", "live:viewer-left", "live:signal-answer", "live:signal-ice", "live:update", "live:ended", "live:start", "live:signal-offer"];

/** Candidates that no browser would send. */
const ODD_CANDIDATES = [
  null, "", 5, [], {},
  { candidate: "" },
  { candidate: null, sdpMid: null, sdpMLineIndex: null },
  { candidate: "candidate:" },
  { candidate: "candidate:1 1 udp 1 300.300.300.300 9 typ host", sdpMid: "0", sdpMLineIndex: 0 },
  { candidate: "candidate:1 1 udp 2122260223 192.0.2.77 99999999 typ host", sdpMid: "0", sdpMLineIndex: 0 },
  { candidate: "candidate:1 1 udp 2122260223 192.0.2.77 9 typ", sdpMid: "0", sdpMLineIndex: 0 },
  { candidate: "candidate:1 9 sctp -5 ::::: 9 typ host", sdpMid: "nope", sdpMLineIndex: 77 },
  { candidate: "candidate:1 1 udp 2122260223 0f0f0f0f-0000-4000-8000-000000000000.local 50000 typ host", sdpMid: "0", sdpMLineIndex: 0 },
  { candidate: `candidate:${"1".repeat(100_000)} 1 udp 1 192.0.2.77 9 typ host`, sdpMid: "0", sdpMLineIndex: 0 },
  { candidate: "candidate:1 1 udp 1 192.0.2.77 9 typ host\r\na=evil\r\nm=audio 9 x 0", sdpMid: "0", sdpMLineIndex: 0 },
  { candidate: "a=candidate:1 1 tcp 1 192.0.2.77 9 typ host tcptype active", sdpMid: "0", sdpMLineIndex: 65535 },
  { candidate: "candidate:1 1 udp 1 \u0000 9 typ host", sdpMid: "\u0000", sdpMLineIndex: 0 },
];

/** Answers to a real offer, each wrong in its own way. */
const BROKEN_ANSWERS = {
  nothing: () => undefined,
  "null": () => null,
  "a number": () => 7,
  "an offer": (offer) => ({ type: "offer", sdp: offer }),
  "a rollback": () => ({ type: "rollback" }),
  "no sdp": () => ({ type: "answer" }),
  "an sdp that is no text": () => ({ type: "answer", sdp: { v: 0 } }),
  "an empty sdp": () => ({ type: "answer", sdp: "" }),
  "one line": () => ({ type: "answer", sdp: "v=0\r\n" }),
  "noise": () => ({ type: "answer", sdp: "\u0000\u0001 m=m=m=\r\n\r\n===".repeat(100) }),
  "the first half": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).slice(0, 300) }),
  "cut in the last line": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).slice(0, -20) }),
  "the offer itself": (offer) => ({ type: "answer", sdp: offer }),
  "no media": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).split("m=")[0] }),
  "one m-line too many": (offer) => ({ type: "answer", sdp: `${plausibleAnswer(offer)}m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:9\r\n` }),
  "an m-line of another kind": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).replace("m=video", "m=application") }),
  "no H.264": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).replaceAll("H264/90000", "VP8/90000").replace(/a=fmtp:.*\r\n/g, "") }),
  "no codec at all": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).replace(/^(m=video \S+ \S+) .*$/m, "$1 127") }),
  "a rejected m-line": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).replace(/m=video \d+/, "m=video 0").replace("recvonly", "inactive") }),
  "no fingerprint": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).replace(/a=fingerprint.*\r\n/g, "") }),
  "a wrong fingerprint": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer) }),
  "a fingerprint of no kind": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).replace(/a=fingerprint.*/g, "a=fingerprint:md99 zz") }),
  "no ICE credentials": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).replace(/a=ice-.*\r\n/g, "") }),
  "setup actpass": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).replace(/a=setup:.*/g, "a=setup:actpass") }),
  "another mid": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).replace(/a=mid:.*/g, "a=mid:other") }),
  "a port beyond all ports": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).replace(/m=video \d+/, "m=video 9999999999999999999999") }),
  "payload types beyond all numbers": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer).replace(/a=rtpmap:\d+/g, "a=rtpmap:99999999999999999999") }),
  "a hundred thousand attributes": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer) + "a=x:y\r\n".repeat(100_000) }),
  "five hundred m-lines": (offer) => ({ type: "answer", sdp: plausibleAnswer(offer) + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=inactive\r\n".repeat(500) }),
  "one endless line": (offer) => ({ type: "answer", sdp: `${plausibleAnswer(offer)}a=${"x".repeat(800_000)}\r\n` }),
};

/** A host with a permanent watcher in Chromium; `check` says whether all is well with both. */
async function underWatch(t, options) {
  const stage = await Stage.set(t, options);
  stage.watching = await stage.watcher("permanent");
  await stage.watching.moves();
  await stage.watching.resetGap();
  stage.pidBefore = stage.daemon.pid;
  return stage;
}

async function allIsWell(stage, gap = GAP_MS) {
  const { longestGapMs, connection } = await stage.watching.moves();
  stage.figure("the watcher's longest gap", longestGapMs, "ms");
  assert.ok(stage.daemon.alive, `the host ended: ${stage.daemon.log}`);
  assert.equal(stage.daemon.pid, stage.pidBefore);
  assert.equal(connection, "connected");
  assert.ok(longestGapMs < gap, `the watcher's picture stood still for ${longestGapMs} ms`);
  assert.deepEqual(await stage.watching.complaints(), []);
  assert.doesNotMatch(stage.daemon.log, /panicked/);
  await stage.daemon.live(stage.lobby, { ms: 60_000 });
  const late = await stage.watcher("late");
  await late.moves();
}

/** A viewer without a browser, under full control. */
async function attacker(stage, name) {
  const socket = io(stage.lobby.url, { auth: { token: stage.lobby.token(name) }, transports: ["websocket"], forceNew: true });
  stage.t.after(() => socket.close());
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject));
  return socket;
}

/** Joins and waits for the offer. */
async function joined(stage, socket) {
  const offered = new Promise((resolve) => socket.once("live:signal-offer", resolve));
  await socket.emitWithAck("live:join", { streamId: stage.lobby.stream.streamId });
  let offer;
  offered.then((payload) => (offer = payload.offer));
  await until("an offer to an attacker", 20_000, () => offer, () => stage.daemon.log.slice(-2000));
  return offer;
}

/** Sends raw frames one by one; a host that hangs up on one is waited for. */
async function sendFrames(stage, frames) {
  for (const [what, frame] of Object.entries(frames)) {
    await stage.daemon.live(stage.lobby, { ms: 60_000 });
    await stage.lobby.rawToHost(frame);
    assert.ok(stage.daemon.alive, `after ${what}: ${stage.daemon.log}`);
  }
}

test("garbage frames harm nobody", async (t) => {
  const stage = await underWatch(t);
  await sendFrames(stage, GARBAGE_FRAMES);
  await allIsWell(stage);
});

test("binary frames and packets harm nobody", async (t) => {
  const stage = await underWatch(t);
  await sendFrames(stage, BINARY_FRAMES);
  const blob = Buffer.alloc(1000, 7);
  for (const name of ["message:receive", ...HOST_EVENTS]) stage.lobby.emitToHost(name, blob, { file: blob });
  await allIsWell(stage);
});

test("oversize packets harm nobody", async (t) => {
  const stage = await underWatch(t);
  for (const megabytes of [2, 32]) {
    await stage.daemon.live(stage.lobby, { ms: 60_000 });
    await stage.lobby.rawToHost(event("message:receive", "x".repeat(megabytes << 20)));
    await stage.daemon.live(stage.lobby, { ms: 60_000 });
    await stage.lobby.rawToHost(Buffer.alloc(megabytes << 20));
  }
  const { rssKb } = await stage.daemon.resources();
  stage.figure("memory after packets of 32 MB", rssKb / 1024, "MB");
  await allIsWell(stage);
});

test("unknown events and malformed payloads harm nobody", async (t) => {
  const stage = await underWatch(t);
  for (const name of [...HOST_EVENTS, "live:new-in-another-version", "", "__proto__"]) {
    for (const payload of ODD_PAYLOADS) {
      const args = JSON.parse(JSON.stringify(payload).replaceAll('"LIVE"', JSON.stringify(stage.lobby.stream.streamId)));
      await stage.lobby.rawToHost(event(name, ...args));
      await stage.lobby.rawToHost(`427${JSON.stringify([name, ...args])}`);
    }
  }
  await allIsWell(stage);
});

test("answers and candidates from strangers harm nobody", async (t) => {
  const stage = await underWatch(t);
  const [streamId, victim] = [stage.streamId, stage.watching.id];
  const stranger = await attacker(stage, "stranger");
  const known = stage.lobby.sent("live:signal-offer")[0].payload.offer.sdp;
  for (let n = 0; n < 50; n += 1) {
    stranger.emit("live:signal-answer", { streamId, to: victim, from: victim, answer: { type: "answer", sdp: plausibleAnswer(known) } });
    for (const candidate of ODD_CANDIDATES) stranger.emit("live:signal-ice", { streamId, candidate });
    stranger.emit("live:leave", { streamId });
    stranger.emit("live:end", { streamId });
  }
  await stranger.emitWithAck("live:list");
  // The victim answers a second time, as a page does that was tampered with.
  stage.lobby.emitToHost("live:signal-answer", { streamId, from: victim, answer: { type: "answer", sdp: plausibleAnswer(known) } });
  for (const candidate of ODD_CANDIDATES) stage.lobby.emitToHost("live:signal-ice", { streamId, from: victim, candidate });
  await allIsWell(stage);
  assert.equal(stage.lobby.stream.streamId, streamId, "the stream is still the same");
});

test("broken answers harm nobody but their sender", async (t) => {
  const stage = await underWatch(t, { config: { viewers: { max: 50 } } });
  const before = await stage.daemon.resources();
  const answers = Object.entries(BROKEN_ANSWERS);
  const sockets = await Promise.all(answers.map(async ([what, make], n) => {
    const socket = await attacker(stage, `attacker-${n}`);
    const offer = await joined(stage, socket);
    socket.emit("live:signal-answer", { streamId: stage.streamId, answer: make(offer.sdp) });
    for (const candidate of ODD_CANDIDATES) socket.emit("live:signal-ice", { streamId: stage.streamId, candidate });
    await socket.emitWithAck("live:list");
    assert.ok(stage.daemon.alive, `after ${what}: ${stage.daemon.log}`);
    return socket;
  }));
  await allIsWell(stage);
  for (const socket of sockets) socket.close();
  await until("the attackers' threads to end", 60_000, async () =>
    (await stage.daemon.resources()).threads <= before.threads + 15, () => stage.daemon.resources());
  stage.figure("broken answers", answers.length, "");
});

test("a page whose certificate is not the one that was answered for gets no picture", async (t) => {
  const stage = await underWatch(t);
  const impostor = await stage.page("impostor", { tamper: true });
  await impostor.watch();
  await until("the end of the handshake", 40_000, async () =>
    ["failed", "closed", "disconnected"].includes((await impostor.report()).connection), () => impostor.brief());
  const { video } = await impostor.report();
  assert.equal(video?.decoded ?? 0, 0, "no frame for whoever cannot show the right certificate");
  await allIsWell(stage);
});

test("a flood of candidates harms nobody", async (t) => {
  const stage = await underWatch(t);
  const before = await stage.daemon.resources();
  const early = await attacker(stage, "flood-before-the-answer");
  const late = await attacker(stage, "flood-after-the-answer");
  await joined(stage, early);
  const offer = await joined(stage, late);
  late.emit("live:signal-answer", { streamId: stage.streamId, answer: { type: "answer", sdp: plausibleAnswer(offer.sdp) } });
  for (let n = 0; n < 5000; n += 1) {
    const candidate = { candidate: `candidate:${n} 1 udp ${2122260223 - n} 192.0.2.${n % 250} ${1024 + n} typ host`, sdpMid: "0", sdpMLineIndex: 0 };
    for (const socket of [early, late]) socket.emit("live:signal-ice", { streamId: stage.streamId, candidate });
  }
  await Promise.all([early, late].map((socket) => socket.emitWithAck("live:list")));
  await allIsWell(stage);
  const after = await stage.daemon.resources();
  const taken = (after.rssKb - before.rssKb) / 1024;
  stage.figure("memory that a flood of 10000 candidates took", taken, "MB");
  assert.ok(taken < FLOOD_MB, `a flood of candidates took ${taken} MB`);
});

test("a storm of joins and leaves harms nobody", async (t) => {
  const stage = await underWatch(t);
  const socket = await attacker(stage, "restless");
  for (let n = 0; n < 40; n += 1) {
    socket.emit("live:join", { streamId: stage.streamId });
    if (n % 3 === 0) socket.emit("live:join", { streamId: stage.streamId });
    socket.emit("live:leave", { streamId: stage.streamId });
  }
  await socket.emitWithAck("live:list");
  // So many joins in a row are refused for a while, and then it is let in as anybody.
  let offered = false;
  socket.once("live:signal-offer", () => (offered = true));
  await until("an offer to the one that was restless", 30_000, () => {
    if (!offered) socket.emit("live:join", { streamId: stage.streamId });
    return offered;
  }, () => stage.daemon.log.slice(-2000), 1000);
  await allIsWell(stage);
});
