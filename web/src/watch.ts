/**
 * One watch: from "watch this stream" until the viewer goes back to the list. Rules without I/O:
 * every input carries the time, the effects are drained after it, and `deadline()` says when `tick`
 * is due. `player.ts` carries the effects out.
 *
 * A watch outlives its connections. Up to two are held at once: the *shown* one, whose picture is on
 * the screen, and the *next* one, which takes over with its first frame. So a viewer whose line to
 * the lobby broke keeps the picture until the new connection has one.
 */

import { backoff, type Random } from "./backoff";
import { isSuccessor } from "./succession";
import {
  FIRST,
  type Camera,
  type IncomingCandidate,
  type Offer,
  type Refusal,
  type Rendition,
  type SentRendition,
  type Stream,
} from "./protocol";

export const TIMES = {
  /** From asking to join until the host's offer. */
  offer: 10_000,
  /** From the offer until the first frame. */
  frame: 10_000,
  /** How long ICE may be "disconnected" before the connection is given up. */
  disconnected: 4_000,
  /** Without a new frame for this long the picture is called stalled … */
  stalled: 4_000,
  /** … and for this long, given up. */
  dead: 10_000,
  /** The same once the lobby has said that the stream is over. */
  endedStall: 2_000,
  /** How long a host that went away is waited for. */
  grace: 30_000,
  /** A picture this long wipes out the failures before it. */
  steady: 10_000,
  retryFirst: 1_000,
  retryCap: 8_000,
  /** The slow retry when quick ones have come to nothing. */
  retrySlow: 60_000,
  /** Between two knocks at a full host's door. */
  fullFirst: 4_000,
  fullCap: 60_000,
} as const;

/** Quick attempts in a row before the watch calls itself failed. */
export const QUICK_ATTEMPTS = 6;

/** Candidates kept for an offer that has not come yet; more than any host has. */
const MAX_EARLY_CANDIDATES = 64;

/** Names one connection of this watch; never used twice. */
export type PeerId = number;

/** What `RTCPeerConnection` says; `closed` is the other side hanging up. */
export type PeerState = "connected" | "disconnected" | "failed" | "closed";

export type Why =
  /** The line to the lobby is down. */
  | "line"
  /** The host is not in the lobby. */
  | "host-away"
  /** Too many are on their way in. */
  | "busy"
  | "no-offer"
  | "no-frame"
  /** ICE or DTLS gave up. */
  | "media"
  /** Connected, but no frames come. */
  | "stalled"
  | "hung-up"
  /** The offer could not be taken. */
  | "offer"
  /** This browser decodes none of what the host sends. */
  | "codec";

export type Phase =
  | { readonly name: "connecting"; readonly attempt: number }
  /**
   * `lobbyLost`: the picture goes on though the lobby does not know of the stream at present.
   * `camera`: whose picture it is, the camera's or the host's slate, as far as the lobby was told.
   */
  | { readonly name: "live"; readonly lobbyLost: boolean; readonly camera: Camera }
  | { readonly name: "reconnecting"; readonly why: Why }
  /** `again`: the same host is live again under a new id, too late for going on unasked. */
  | { readonly name: "ended"; readonly again: boolean; readonly waiting: boolean }
  | { readonly name: "full"; readonly max: number | undefined }
  | { readonly name: "failed"; readonly why: Why; readonly final: boolean };

/** What is on the screen is the camera's picture. */
export function showsCamera(phase: Phase): boolean {
  return phase.name === "live" && phase.camera === "live";
}

export type Effect =
  | { readonly do: "join"; readonly streamId: string }
  | { readonly do: "leave"; readonly streamId: string }
  /** A new connection: take this offer, send the answer. */
  | { readonly do: "open"; readonly peer: PeerId; readonly offer: Offer }
  | { readonly do: "candidate"; readonly peer: PeerId; readonly candidate: RTCIceCandidateInit | null }
  /** Put this connection's picture on the screen. */
  | { readonly do: "show"; readonly peer: PeerId }
  | { readonly do: "close"; readonly peer: PeerId };

interface Peer {
  readonly id: PeerId;
  frames: number;
  lastFrameAt: number;
  connected: boolean;
  disconnectedSince: number | undefined;
  /** As the host said last; undefined since it cannot be heard any more. */
  rendition: Rendition | undefined;
}

/** A join under way: asked for, not yet seen. */
interface Join {
  readonly streamId: string;
  deadline: number;
  next: Peer | undefined;
  early: (RTCIceCandidateInit | null)[];
}

export class Watch {
  #stream: Stream;
  #phase: Phase = { name: "connecting", attempt: 1 };
  #effects: Effect[] = [];
  #join: Join | undefined;
  #shown: Peer | undefined;
  #lastPeer: PeerId = 0;

  /** The lobby's latest list holds our stream; undefined while the line is down or the list is awaited. */
  #listed: boolean | undefined = true;
  /** Where the lobby said in so many words that the stream is over. */
  #saidEnded = false;
  #awaySince: number | undefined;
  /** The same host's new stream, come too late to be joined unasked. */
  #again: Stream | undefined;
  /** Streams that were there beside ours: the host's others, not its return. */
  #beside = new Set<string>();

  #failures = 0;
  #knocks = 0;
  #lastWhy: Why = "no-frame";
  #retryAt: number | undefined;
  #liveSince: number | undefined;
  #wasLive = false;
  readonly #random: Random;

  constructor(now: number, stream: Stream, beside: readonly Stream[], random: Random = Math.random) {
    this.#stream = stream;
    this.#random = random;
    for (const other of beside) this.#beside.add(other.streamId);
    this.#joinNow(now);
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** What is watched: the lobby's latest word on it. */
  get stream(): Stream {
    return this.#stream;
  }

  /** The connection on the screen. */
  get shown(): PeerId | undefined {
    return this.#shown?.id;
  }

  /** What the picture on the screen is sent as; undefined where there is none, or nobody to tell. */
  get rendition(): Rendition | undefined {
    return this.#shown?.rendition;
  }

  drain(): Effect[] {
    return this.#effects.splice(0);
  }

  /** When `tick` is due next, in ms; undefined while nothing is waited for. */
  deadline(): number | undefined {
    const shown = this.#shown;
    const times = [
      this.#retryAt,
      this.#join?.deadline,
      this.#graceEnd(),
      shown?.disconnectedSince === undefined ? undefined : shown.disconnectedSince + TIMES.disconnected,
      shown && shown.lastFrameAt + this.#patience(),
      this.#phase.name === "live" && this.#failures > 0 && this.#liveSince !== undefined
        ? this.#liveSince + TIMES.steady
        : undefined,
    ].filter((time) => time !== undefined);
    return times.length > 0 ? Math.min(...times) : undefined;
  }

  // ── The line ────────────────────────────────────────────────────────────────────────────────

  lineDown(_now: number): void {
    this.#listed = undefined;
    this.#outOfEarshot();
    // A join that has its offer needs the lobby no more, or only for candidates: let it try.
    if (this.#join && !this.#join.next) this.#join = undefined;
    this.#retryAt = undefined;
    if (this.#shown) this.#showPhase();
    else if (!this.#over()) this.#reconnecting("line");
  }

  /** The lobby's list: the first after a connect, and every one after it. */
  list(now: number, streams: readonly Stream[]): void {
    const newLine = this.#listed === undefined;
    const ours = streams.find((stream) => stream.streamId === this.#stream.streamId);
    if (ours && !this.#saidEnded) {
      this.#stream = ours;
      this.#listed = true;
      this.#awaySince = undefined;
      for (const other of streams) if (other !== ours) this.#beside.add(other.streamId);
      if (newLine) this.#rejoinOnNewLine(now);
      else this.#roomMaybe(now);
      this.#showPhase();
      return;
    }
    const successor = streams.find((stream) => isSuccessor(stream, this.#stream, this.#beside, streams));
    if (successor) this.#succeed(now, successor);
    else this.#away(now);
  }

  /** The lobby knows us under a new name now: our old place closes by itself, take a new one. */
  #rejoinOnNewLine(now: number): void {
    if (this.#phase.name === "failed" && this.#phase.final) return;
    this.#failures = 0;
    this.#joinNow(now);
  }

  #succeed(now: number, successor: Stream): void {
    const late = this.#phase.name === "ended" && !this.#phase.waiting;
    if (late) {
      this.#again = successor;
      this.#phase = { name: "ended", again: true, waiting: false };
      return;
    }
    this.#stream = successor;
    this.#listed = true;
    this.#outOfEarshot();
    this.#saidEnded = false;
    this.#awaySince = undefined;
    this.#failures = 0;
    this.#retryAt = undefined;
    if (this.#phase.name === "failed" && this.#phase.final) return;
    // Media that flows needs no lobby: the host kept this viewer's branch.
    if (this.#shown) this.#showPhase();
    else this.#joinNow(now);
  }

  /** The lobby does not list the stream (any more). */
  #away(now: number): void {
    this.#listed = false;
    this.#outOfEarshot();
    this.#again = undefined;
    if (this.#phase.name === "ended") {
      this.#phase = { ...this.#phase, again: false };
      return;
    }
    this.#awaySince ??= now;
    this.#retryAt = undefined;
    this.#dropJoin(false);
    if (this.#shown) this.#showPhase();
    else if (this.#saidEnded) this.#end(now);
    else this.#reconnecting("host-away");
  }

  /** `live:ended`. */
  ended(now: number, streamId: string): void {
    if (streamId !== this.#stream.streamId || this.#phase.name === "ended") return;
    this.#saidEnded = true;
    this.#away(now);
  }

  /** The acknowledgement of a join: `false` where there is no such stream. */
  joined(now: number, streamId: string, there: boolean): void {
    if (there || this.#join?.streamId !== streamId || streamId !== this.#stream.streamId) return;
    this.#saidEnded = true;
    this.#away(now);
  }

  refused(now: number, refusal: Refusal): void {
    if (this.#join?.streamId !== refusal.streamId) return;
    this.#dropJoin(true);
    // Not for want of a place: the crowd at the door is soon gone.
    if (refusal.reason === "busy") return this.#attemptFailed(now, "busy");
    this.#knocks += 1;
    this.#retryAt = now + backoff(this.#knocks, TIMES.fullFirst, TIMES.fullCap, this.#random);
    if (this.#shown) return;
    this.#phase = { name: "full", max: refusal.max };
  }

  /** A full host may have a place again: do not wait longer than it takes not to be a crowd. */
  #roomMaybe(now: number): void {
    const phase = this.#phase;
    if (phase.name !== "full" || phase.max === undefined || this.#stream.viewers >= phase.max) return;
    if (this.#knocks > 1 || this.#retryAt === undefined) return;
    this.#retryAt = Math.min(this.#retryAt, now + 500 + 1_000 * this.#random());
  }

  // ── Signaling ───────────────────────────────────────────────────────────────────────────────

  /** An offer opens a connection: the first one of a join, or a new one in place of a branch that the host rebuilt. */
  offer(now: number, offer: Offer): void {
    if (offer.streamId !== this.#stream.streamId || this.#listed === undefined) return;
    if (!this.#join && !this.#shown) return;
    if (this.#join?.next) this.#close(this.#join.next);
    const early = this.#join?.next ? [] : (this.#join?.early ?? []);
    const next: Peer = {
      id: ++this.#lastPeer,
      frames: 0,
      lastFrameAt: now,
      connected: false,
      disconnectedSince: undefined,
      rendition: FIRST,
    };
    this.#join = { streamId: offer.streamId, deadline: now + TIMES.frame, next, early: [] };
    this.#retryAt = undefined;
    this.#effects.push({ do: "open", peer: next.id, offer });
    for (const candidate of early) this.#effects.push({ do: "candidate", peer: next.id, candidate });
    if (this.#phase.name === "full" || this.#phase.name === "failed") this.#tryingPhase();
  }

  candidate(_now: number, incoming: IncomingCandidate): void {
    if (incoming.streamId !== this.#stream.streamId) return;
    const { candidate } = incoming;
    const join = this.#join;
    if (join && !join.next) {
      if (join.early.length < MAX_EARLY_CANDIDATES) join.early.push(candidate);
      return;
    }
    const peer = join?.next ?? this.#shown;
    if (peer) this.#effects.push({ do: "candidate", peer: peer.id, candidate });
  }

  /** The host knows one connection per viewer, which is the newest. */
  sent({ streamId, rendition }: SentRendition): void {
    const newest = this.#join?.next ?? this.#shown;
    if (newest && streamId === this.#stream.streamId) newest.rendition = rendition;
  }

  // ── Media ───────────────────────────────────────────────────────────────────────────────────

  /** Frames decoded so far by a connection. */
  frames(now: number, id: PeerId, decoded: number): void {
    const peer = this.#peer(id);
    if (!peer || decoded <= peer.frames) return;
    peer.frames = decoded;
    peer.lastFrameAt = now;
    if (peer !== this.#shown) this.#takeOver(now, peer);
    this.#showPhase();
  }

  #takeOver(now: number, peer: Peer): void {
    if (this.#shown) this.#close(this.#shown);
    this.#shown = peer;
    this.#join = undefined;
    this.#retryAt = undefined;
    this.#knocks = 0;
    this.#wasLive = true;
    this.#liveSince = now;
    this.#effects.push({ do: "show", peer: peer.id });
  }

  peer(now: number, id: PeerId, state: PeerState): void {
    const peer = this.#peer(id);
    if (!peer) return;
    switch (state) {
      case "connected":
        peer.connected = true;
        peer.disconnectedSince = undefined;
        break;
      case "disconnected":
        peer.disconnectedSince ??= now;
        break;
      case "failed":
      case "closed":
        this.#lost(now, peer, state === "closed" ? "hung-up" : "media");
    }
  }

  /** The connection could not take the offer. Trying again helps only where another offer may come. */
  broken(now: number, id: PeerId, why: "offer" | "codec"): void {
    const peer = this.#peer(id);
    if (!peer) return;
    if (why === "offer" || this.#shown) return this.#lost(now, peer, why);
    this.#dropJoin(true);
    this.#retryAt = undefined;
    this.#phase = { name: "failed", why, final: true };
  }

  #lost(now: number, peer: Peer, why: Why): void {
    if (peer === this.#shown) {
      this.#close(peer);
      this.#shown = undefined;
      if (this.#awaySince !== undefined) this.#awaySince = now;
      if (this.#join) return this.#reconnecting(why);
      if (this.#listed === undefined) return this.#reconnecting("line");
      if (!this.#listed) return this.#saidEnded ? this.#end(now) : this.#reconnecting("host-away");
      // A retry that was waiting behind the old picture need not wait on.
      this.#effects.push({ do: "leave", streamId: this.#stream.streamId });
    } else {
      this.#dropJoin(true);
    }
    this.#attemptFailed(now, why);
  }

  #attemptFailed(now: number, why: Why): void {
    this.#failures += 1;
    this.#lastWhy = why;
    if (this.#listed !== true) {
      if (!this.#shown) this.#reconnecting(this.#listed === undefined ? "line" : "host-away");
      return;
    }
    const quick = this.#failures < QUICK_ATTEMPTS;
    this.#retryAt =
      now + (quick ? backoff(this.#failures, TIMES.retryFirst, TIMES.retryCap, this.#random) : TIMES.retrySlow);
    if (this.#shown) return;
    if (!quick) this.#phase = { name: "failed", why, final: false };
    else if (this.#wasLive) this.#reconnecting(why);
    else this.#phase = { name: "connecting", attempt: this.#failures + 1 };
  }

  // ── The clock and the person ────────────────────────────────────────────────────────────────

  tick(now: number): void {
    const shown = this.#shown;
    if (shown) this.#checkShown(now, shown);
    const join = this.#join;
    if (join && now >= join.deadline) {
      this.#dropJoin(true);
      this.#attemptFailed(now, !join.next ? "no-offer" : join.next.connected ? "no-frame" : "media");
    }
    const graceEnd = this.#graceEnd();
    if (graceEnd !== undefined && now >= graceEnd) this.#end(now);
    if (this.#retryAt !== undefined && now >= this.#retryAt) this.#joinNow(now);
    if (this.#phase.name === "live" && this.#liveSince !== undefined && now >= this.#liveSince + TIMES.steady) {
      this.#failures = 0;
    }
  }

  #checkShown(now: number, shown: Peer): void {
    const disconnected = shown.disconnectedSince ?? now;
    const silent = now - shown.lastFrameAt;
    if (this.#saidEnded && silent >= TIMES.endedStall) this.#lost(now, shown, "hung-up");
    else if (silent >= TIMES.dead) this.#lost(now, shown, "stalled");
    else if (now - disconnected >= TIMES.disconnected) this.#lost(now, shown, "media");
    else if (silent >= TIMES.stalled) this.#reconnecting("stalled");
  }

  /** The person asks for another try, in any phase but Live. */
  retry(now: number): void {
    if (this.#phase.name === "live") return;
    if (this.#again) {
      this.#stream = this.#again;
      this.#again = undefined;
      this.#listed = true;
      this.#saidEnded = false;
      this.#awaySince = undefined;
      this.#wasLive = false;
    }
    this.#failures = 0;
    this.#knocks = 0;
    if (this.#listed === true) {
      this.#dropJoin(true);
      this.#joinNow(now);
    }
  }

  /** Back to the list: the end of this watch. */
  leave(): void {
    if (this.#listed === true) this.#effects.push({ do: "leave", streamId: this.#stream.streamId });
    if (this.#join?.next) this.#close(this.#join.next);
    if (this.#shown) this.#close(this.#shown);
    this.#join = undefined;
    this.#shown = undefined;
    this.#retryAt = undefined;
    this.#awaySince = undefined;
  }

  // ── Small steps ─────────────────────────────────────────────────────────────────────────────

  #joinNow(now: number): void {
    this.#retryAt = undefined;
    if (this.#join?.next) this.#close(this.#join.next);
    const { streamId } = this.#stream;
    this.#join = { streamId, deadline: now + TIMES.offer, next: undefined, early: [] };
    this.#effects.push({ do: "join", streamId });
    // Knocking again at a full or failing host is not news until it opens.
    const quiet =
      (this.#phase.name === "full" && this.#knocks > 0) || (this.#phase.name === "failed" && this.#failures > 0);
    if (!this.#shown && !quiet) this.#tryingPhase();
  }

  #tryingPhase(): void {
    if (this.#wasLive) this.#reconnecting(this.#phase.name === "reconnecting" ? this.#phase.why : this.#lastWhy);
    else this.#phase = { name: "connecting", attempt: this.#failures + 1 };
  }

  /** Gives the join under way up; `tell`: the lobby still counts us in. */
  #dropJoin(tell: boolean): void {
    const join = this.#join;
    if (!join) return;
    this.#join = undefined;
    if (join.next) this.#close(join.next);
    if (tell && this.#listed === true) this.#effects.push({ do: "leave", streamId: join.streamId });
  }

  #end(now: number): void {
    if (this.#phase.name === "ended") {
      this.#phase = { ...this.#phase, waiting: false };
      return;
    }
    this.#awaySince ??= now;
    this.#dropJoin(false);
    this.#retryAt = undefined;
    this.#phase = { name: "ended", again: false, waiting: now < this.#awaySince + TIMES.grace };
  }

  /** Until when a host that is away is waited for, where it is. */
  #graceEnd(): number | undefined {
    const waiting =
      (this.#phase.name === "reconnecting" && this.#listed === false && !this.#shown) ||
      (this.#phase.name === "ended" && this.#phase.waiting);
    return waiting && this.#awaySince !== undefined ? this.#awaySince + TIMES.grace : undefined;
  }

  /** How long the shown connection may go without a frame before something is done about it. */
  #patience(): number {
    if (this.#saidEnded) return TIMES.endedStall;
    return this.#phase.name === "live" ? TIMES.stalled : TIMES.dead;
  }

  #showPhase(): void {
    const shown = this.#shown;
    if (!shown) return;
    if (this.#phase.name === "reconnecting" && this.#phase.why === "stalled" && shown.frames === this.#stalledAt) return;
    this.#phase = { name: "live", lobbyLost: this.#listed !== true, camera: this.#stream.camera };
  }

  #stalledAt = -1;

  #reconnecting(why: Why): void {
    this.#stalledAt = this.#shown?.frames ?? -1;
    this.#phase = { name: "reconnecting", why };
  }

  /** Media may go on, but if the host sends another rendition now, this viewer does not hear of it. */
  #outOfEarshot(): void {
    if (this.#shown) this.#shown.rendition = undefined;
    if (this.#join?.next) this.#join.next.rendition = undefined;
  }

  #over(): boolean {
    return this.#phase.name === "ended" || this.#phase.name === "failed";
  }

  #peer(id: PeerId): Peer | undefined {
    return [this.#shown, this.#join?.next].find((peer) => peer?.id === id);
  }

  #close(peer: Peer): void {
    this.#effects.push({ do: "close", peer: peer.id });
  }
}
