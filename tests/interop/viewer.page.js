// A viewer's page as it stands in the field: one RTCPeerConnection that only answers, candidates
// added as they come, no retry. Around it: measurements, which change nothing of that.
/* global io, document, window, RTCPeerConnection, RTCRtpScriptTransform, Worker */

const video = document.getElementById("video");

const page = {
  socket: null,
  pc: null,
  streamId: null,
  /** Things that a page in the field would show as a broken player. */
  errors: [],
  /** Every event from the server that concerns streams, with the time. */
  events: [],
  offers: [],
  tracks: [],
  update: [],
  joinedAt: null,
  firstFrameAt: null,
  frames: 0,
  lastFrameAt: null,
  longestGap: 0,
};
window.page = page;

const wrong = (what) => (error) => page.errors.push(`${what}: ${error?.message ?? error}`);

/** Connects as the app's shared socket does; resolves with the socket's id. */
page.connect = (url, token, extra = {}) => {
  page.extra = extra;
  page.socket = io(url, { auth: { token }, forceNew: true });
  page.socket.onAny((event, payload) => {
    if (event.startsWith("live:")) page.events.push({ at: Date.now(), event, streamId: payload?.streamId });
  });
  page.socket.on("live:update", (list) => (page.update = list));
  page.socket.on("live:signal-offer", onOffer);
  page.socket.on("live:signal-ice", onCandidate);
  return new Promise((resolve, reject) => {
    page.socket.once("connect", () => resolve(page.socket.id));
    page.socket.once("connect_error", reject);
  });
};

/** Opens the player on a stream; resolves with the server's acknowledgement of `live:join`. */
page.watch = (streamId, { joins = 1 } = {}) => {
  Object.assign(page, { streamId, joinedAt: performance.now(), firstFrameAt: null, frames: 0, lastFrameAt: null, longestGap: 0 });
  page.pc = newConnection(streamId);
  let acknowledged;
  for (let n = 0; n < joins; n += 1) acknowledged = page.socket.emitWithAck("live:join", { streamId });
  return acknowledged;
};

/** Closes the player, as leaving the page's view does. */
page.leave = () => {
  page.socket.emit("live:leave", { streamId: page.streamId });
  page.pc.close();
  video.srcObject = null;
};

function newConnection(streamId) {
  const pc = new RTCPeerConnection({ iceServers: [{ urls: page.extra.stun ?? "stun:127.0.0.1:3478" }] });
  pc.ontrack = (event) => {
    page.tracks.push({ kind: event.track.kind, stream: event.streams[0]?.id, streams: event.streams.length });
    if (page.extra.sps && event.track.kind === "video") readParameterSets(event.receiver);
    if (video.srcObject !== event.streams[0]) video.srcObject = event.streams[0];
    video.play().catch(() => {}); // interrupted by the next load: the element plays by itself
  };
  pc.onicecandidate = ({ candidate }) => {
    if (candidate) page.socket.emit("live:signal-ice", { streamId, candidate });
  };
  pc.onconnectionstatechange = () => {
    page.events.push({ at: Date.now(), event: `connection:${pc.connectionState}` });
    if (pc.connectionState === "failed") page.errors.push("connection failed");
  };
  return pc;
}

async function onOffer({ streamId, offer }) {
  if (streamId !== page.streamId) return;
  const pc = page.pc;
  page.offers.push(offer.sdp);
  try {
    await pc.setRemoteDescription(offer);
    const answer = await pc.createAnswer();
    await pc.setLocalDescription(answer);
    page.socket.emit("live:signal-answer", { streamId, answer: page.extra.tamper ? forged(answer) : answer });
  } catch (error) {
    wrong("offer")(error);
  }
}

/** The answer with a fingerprint that is not this page's: what the host then talks to is not who answered. */
function forged({ type, sdp }) {
  const turn = (match, hash, digits) => `a=fingerprint:${hash} ${digits.split(":").reverse().join(":")}`;
  return { type, sdp: sdp.replaceAll(/a=fingerprint:(\S+) (\S+)/g, turn) };
}

/** No buffer: a candidate before the offer is an error, here as in the field. */
function onCandidate({ streamId, candidate }) {
  if (streamId !== page.streamId) return;
  if (page.pc.signalingState === "closed") return;
  page.pc.addIceCandidate(candidate).catch(wrong("candidate"));
}

function onFrame(now) {
  if (page.firstFrameAt === null) page.firstFrameAt = now;
  else page.longestGap = Math.max(page.longestGap, now - page.lastFrameAt);
  page.lastFrameAt = now;
  page.frames += 1;
  video.requestVideoFrameCallback(onFrame);
}
video.requestVideoFrameCallback(onFrame);

/** Starts a new measurement of the longest time between two frames. */
page.resetGap = () => (page.longestGap = 0);

/** Reads profile and level out of the first SPS that arrives (ITU-T H.264 7.3.2.1.1). */
function readParameterSets(receiver) {
  const worker = new Worker("/sps.worker.js");
  worker.onmessage = ({ data }) => (page.sps = data);
  receiver.transform = new RTCRtpScriptTransform(worker);
}

/** The picture in a few grey values, to see that it is a picture and that it moves. */
page.look = () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [32, 18];
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return Array.from({ length: data.length / 4 }, (_, i) => (data[i * 4] + data[i * 4 + 1] + data[i * 4 + 2]) / 3);
};

/** Everything that the tests look at, in one piece. */
page.report = async () => {
  const stats = page.pc ? [...(await page.pc.getStats()).values()] : [];
  const inbound = (kind) => stats.find((s) => s.type === "inbound-rtp" && s.kind === kind);
  const v = inbound("video");
  const a = inbound("audio");
  const now = performance.now();
  return {
    now,
    connection: page.pc?.connectionState,
    socketId: page.socket?.id,
    errors: page.errors,
    offers: page.offers,
    tracks: page.tracks,
    update: page.update,
    events: page.events,
    sps: page.sps,
    firstFrameMs: page.firstFrameAt === null ? null : page.firstFrameAt - page.joinedAt,
    presented: page.frames,
    longestGapMs: Math.max(page.longestGap, page.lastFrameAt === null ? 0 : now - page.lastFrameAt),
    video: v && {
      at: v.timestamp,
      decoded: v.framesDecoded,
      keyframes: v.keyFramesDecoded,
      dropped: v.framesDropped,
      fps: v.framesPerSecond,
      width: v.frameWidth,
      height: v.frameHeight,
      lost: v.packetsLost,
      retransmitted: v.retransmittedPacketsReceived ?? 0,
      freezes: v.freezeCount,
      frozenS: v.totalFreezesDuration,
      plis: v.pliCount,
      codec: stats.find((s) => s.id === v.codecId),
    },
    audio: a && { packets: a.packetsReceived, energy: a.totalAudioEnergy, samples: a.totalSamplesReceived, concealed: a.concealedSamples },
  };
};
