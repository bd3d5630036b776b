// The lobby that people run: npm's Socket.IO 4 server with the relay behaviour of the wire
// protocol, and handles for the tests to make it misbehave.
//
// As a module: `const lobby = await Lobby.start({ secret })`.
// As a program: `node lobby.mjs --secret-file FILE [--host ADDRESS] [--port N] [--ping-interval MS]
// [--ping-timeout MS] [--no-ok] [--no-chatter]` prints one JSON line with its address, then serves until it is stopped.

import { randomBytes, randomInt, randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import jwt from "jsonwebtoken";
import { Server } from "socket.io";

/** Traffic of the rest of the app, which a host has to ignore. */
const CHATTER = [
  () => ["user:online", { userId: randomUUID(), at: new Date().toISOString() }],
  () => ["user:offline", randomUUID()],
  () => ["typing:start", { conversationId: randomUUID(), userId: randomUUID() }],
  () => ["typing:stop", { conversationId: randomUUID(), userId: randomUUID() }],
  () => ["message:receive", { _id: randomUUID(), text: "grüße, \"world\" 🐦 [42]", attachments: [] }],
  () => ["call:incoming", { from: randomUUID(), offer: { type: "offer", sdp: "v=0\r\n" } }],
  () => ["call:ice", { candidate: null }],
  () => ["notification", "text", 3, null, [true, { nested: [] }]],
  () => ["presence"],
];

/** A token as the web app hands them out: HS256, two hours. */
export function mintToken(secret, claims, options = { expiresIn: "2h" }) {
  return jwt.sign(claims, secret, { algorithm: "HS256", ...options });
}

/** The user behind a token's claims: the first of the four that the app's servers look at. */
function userOf(claims) {
  const id = claims.id ?? claims.userId ?? claims._id ?? claims.sub;
  if (id === undefined || id === null) throw new Error("no user id among the claims");
  return String(id);
}

export class Lobby {
  /**
   * @param {object} options
   * @param {string} [options.secret] the HS256 secret; a random one when left out
   * @param {string} [options.host] the address to listen on
   * @param {number} [options.port] 0 for a free one
   * @param {boolean} [options.ackHasOk] false: `live:start` is answered with `{streamId}` alone
   * @param {boolean} [options.ackStart] false: `live:start` is never answered
   * @param {boolean} [options.chatter] false: only the protocol's own events
   * @param {number} [options.pingInterval] ms
   * @param {number} [options.pingTimeout] ms
   * @param {boolean} [options.endsAtExpiry] true: a socket is put out when its token expires
   * @param {string[]} [options.transports] Engine.IO transports; the server's default when left out
   */
  constructor(options = {}) {
    this.options = {
      host: "127.0.0.1",
      port: 0,
      ackHasOk: true,
      ackStart: true,
      chatter: true,
      pingInterval: 25_000,
      pingTimeout: 20_000,
      ...options,
    };
    this.secret = options.secret ?? randomBytes(24).toString("hex");
    this.port = this.options.port;
    /** Everything that reached the server: `{at, kind, socket, user, …}` with `at` in ms since the epoch. */
    this.record = [];
    /** Streams by id: `{streamId, title, hostUserId, startedAt, host, viewers: Set}`. */
    this.streams = new Map();
  }

  static async start(options) {
    const lobby = new Lobby(options);
    await lobby.#listen();
    return lobby;
  }

  get url() {
    return `http://${this.options.host}:${this.port}`;
  }

  token(userId, options) {
    return mintToken(this.secret, { sub: userId }, options);
  }

  async #listen() {
    this.http = createServer();
    this.io = new Server(this.http, {
      cors: { origin: true },
      pingInterval: this.options.pingInterval,
      pingTimeout: this.options.pingTimeout,
      ...(this.options.transports ? { transports: this.options.transports } : {}),
    });
    this.io.use((socket, next) => this.#admit(socket, next));
    this.io.on("connection", (socket) => this.#serve(socket));
    await this.#bind();
    this.port = this.http.address().port;
    if (this.options.chatter) this.#startChatter();
  }

  /** After a restart the port may be held for a moment by somebody's outgoing connection. */
  async #bind() {
    const deadline = Date.now() + 10_000;
    for (;;) {
      this.http.listen(this.port, this.options.host);
      try {
        await once(this.http, "listening");
        return;
      } catch (error) {
        if (error.code !== "EADDRINUSE" || Date.now() > deadline) throw error;
        await pause(50);
      }
    }
  }

  /** Goes away without a word: every connection is cut, every stream is forgotten. */
  async stop() {
    clearTimeout(this.chatterTimer);
    this.streams.clear();
    for (const socket of this.io.sockets.sockets.values()) socket.conn.transport.socket?.terminate?.();
    this.http.closeAllConnections();
    await this.io.close();
    this.#note("stopped", null);
  }

  /** Comes back on the same port with other options, as a new process of the server would. */
  async restart(options = {}) {
    Object.assign(this.options, options);
    if (options.secret) this.secret = options.secret;
    await this.#listen();
  }

  #note(kind, socket, more = {}) {
    this.record.push({ at: Date.now(), kind, socket: socket?.id, user: socket?.data.user, ...more });
  }

  #admit(socket, next) {
    try {
      const claims = jwt.verify(socket.handshake.auth.token, this.secret, { algorithms: ["HS256"] });
      socket.data.user = userOf(claims);
      socket.data.expires = claims.exp * 1000;
      this.#note("connect", socket, { accepted: true, transport: socket.conn.transport.name, claims });
      next();
    } catch (error) {
      this.#note("connect", socket, { accepted: false, why: error.message });
      next(new Error("Authentication error"));
    }
  }

  #serve(socket) {
    socket.join(`user:${socket.data.user}`);
    socket.onAny((event, ...args) => {
      const payload = args.filter((arg) => typeof arg !== "function");
      this.#note("event", socket, { event, payload: payload[0], args: payload });
    });
    socket.on("live:list", (ack) => {
      if (typeof ack === "function") ack(this.list());
    });
    socket.on("live:start", (payload, ack) => this.#goLive(socket, payload, ack));
    socket.on("live:end", (payload) => this.#endBy(socket, payload?.streamId));
    socket.on("live:join", (payload, ack) => this.#join(socket, payload, ack));
    socket.on("live:leave", (payload) => this.#leave(socket, payload?.streamId));
    socket.on("live:signal-offer", (p) => {
      if (p?.to) this.io.to(p.to).emit("live:signal-offer", { streamId: p.streamId, offer: p.offer });
    });
    socket.on("live:signal-answer", (p) => this.#toHost(socket, "live:signal-answer", p, { answer: p?.answer }));
    socket.on("live:signal-ice", (p) => this.#relayCandidate(socket, p));
    const left = socket.data.expires - Date.now();
    const expiry = this.options.endsAtExpiry ? setTimeout(() => socket.disconnect(false), left) : null;
    socket.on("disconnect", (reason) => {
      clearTimeout(expiry);
      this.#note("disconnect", socket, { reason });
      for (const stream of [...this.streams.values()]) {
        if (stream.host === socket) this.#end(stream);
        else this.#leave(socket, stream.streamId);
      }
    });
  }

  #goLive(socket, payload, ack) {
    if (!this.options.ackStart) return;
    const stream = {
      streamId: randomBytes(9).toString("base64url"),
      title: String(payload?.title ?? "Untitled"),
      hostUserId: socket.data.user,
      startedAt: new Date().toISOString(),
      host: socket,
      viewers: new Set(),
    };
    this.streams.set(stream.streamId, stream);
    this.#note("live", socket, { streamId: stream.streamId, title: stream.title });
    const answer = { streamId: stream.streamId };
    if (typeof ack === "function") ack(this.options.ackHasOk ? { ok: true, ...answer } : answer);
    this.#update();
  }

  #endBy(socket, streamId) {
    const stream = this.streams.get(streamId);
    if (stream?.host === socket) this.#end(stream);
  }

  #end(stream) {
    this.streams.delete(stream.streamId);
    for (const viewer of stream.viewers) this.io.to(viewer).emit("live:ended", { streamId: stream.streamId });
    this.#update();
  }

  #join(socket, payload, ack) {
    const stream = this.streams.get(payload?.streamId);
    if (typeof ack === "function") ack(Boolean(stream));
    if (!stream) return;
    stream.viewers.add(socket.id);
    stream.host.emit("live:viewer-join", { streamId: stream.streamId, viewerSocketId: socket.id });
    this.#update();
  }

  #leave(socket, streamId) {
    const stream = this.streams.get(streamId);
    if (!stream?.viewers.delete(socket.id)) return;
    stream.host.emit("live:viewer-left", { streamId, viewerSocketId: socket.id });
    this.#update();
  }

  /** Blind, like the servers in the field: whoever names a stream reaches its host. */
  #toHost(socket, event, payload, body) {
    const stream = this.streams.get(payload?.streamId);
    stream?.host.emit(event, { streamId: stream.streamId, from: socket.id, ...body });
  }

  #relayCandidate(socket, p) {
    if (p?.to) {
      this.io.to(p.to).emit("live:signal-ice", { streamId: p.streamId, from: socket.id, candidate: p.candidate });
    } else {
      this.#toHost(socket, "live:signal-ice", p, { candidate: p?.candidate });
    }
  }

  list() {
    return [...this.streams.values()].map((s) => ({
      streamId: s.streamId,
      title: s.title,
      hostUserId: s.hostUserId,
      startedAt: s.startedAt,
      viewers: s.viewers.size,
    }));
  }

  #update() {
    this.io.emit("live:update", this.list());
  }

  #startChatter() {
    const [event, ...args] = CHATTER[randomInt(CHATTER.length)]();
    this.io.emit(event, ...args);
    this.chatterTimer = setTimeout(() => this.#startChatter(), randomInt(20, 250));
  }

  // --- what the tests look at and pull on ---

  /** The record's entries of one event that a socket sent. */
  sent(event, filter = () => true) {
    return this.record.filter((r) => r.kind === "event" && r.event === event && filter(r));
  }

  /** Attempts to connect by anybody, or by one user when accepted. */
  connects(filter = () => true) {
    return this.record.filter((r) => r.kind === "connect" && filter(r));
  }

  /** The stream that went live last, or undefined. */
  get stream() {
    return [...this.streams.values()].at(-1);
  }

  /** The socket of a stream's host. */
  hostSocket(streamId = this.stream?.streamId) {
    const stream = this.streams.get(streamId);
    if (!stream) throw new Error(`no host: no stream ${streamId}`);
    return stream.host;
  }

  /** An event to the host with whatever payload. */
  emitToHost(event, ...args) {
    this.hostSocket().emit(event, ...args);
  }

  /** A WebSocket frame to the host below Engine.IO: a string goes as text, a Buffer as binary. */
  rawToHost(frame) {
    const websocket = this.hostSocket().conn.transport.socket;
    return new Promise((resolve) => websocket.send(frame, { binary: Buffer.isBuffer(frame) }, () => resolve()));
  }

  /** Cuts the host's TCP connection without a close frame. */
  cutHost() {
    this.hostSocket().conn.transport.socket.terminate();
  }

  /** Falls silent towards the host, as a frozen process does: the connection stays open, nothing is read or sent. */
  freezeHost() {
    const { conn } = this.hostSocket();
    clearTimeout(conn.pingIntervalTimer);
    clearTimeout(conn.pingTimeoutTimer);
    conn.transport.socket.pause();
  }

  /** `41`: the server disconnects the host's namespace and leaves the connection open. */
  disconnectHost() {
    this.hostSocket().disconnect(false);
  }
}

async function main() {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "0" },
      "secret-file": { type: "string" },
      host: { type: "string", default: "127.0.0.1" },
      "ping-interval": { type: "string", default: "25000" },
      "ping-timeout": { type: "string", default: "20000" },
      "no-ok": { type: "boolean", default: false },
      "no-chatter": { type: "boolean", default: false },
    },
  });
  if (!values["secret-file"]) throw new Error("--secret-file FILE is needed: the HS256 secret of the tokens");
  const lobby = await Lobby.start({
    port: Number(values.port),
    secret: readFileSync(values["secret-file"], "utf8").trim(),
    host: values.host,
    pingInterval: Number(values["ping-interval"]),
    pingTimeout: Number(values["ping-timeout"]),
    ackHasOk: !values["no-ok"],
    chatter: !values["no-chatter"],
  });
  console.log(JSON.stringify({ url: lobby.url }));
  const end = () => lobby.stop().then(() => process.exit(0));
  process.once("SIGINT", end);
  process.once("SIGTERM", end);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
