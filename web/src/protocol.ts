/**
 * The lobby's vocabulary, viewer's side. Whatever comes in is of unknown shape until it has passed
 * one of the `parse…` functions; what they do not know they leave out, they never throw.
 */

/** What a stream's viewers are shown: the camera's picture, or a slate, because it is lost or has not come yet. */
export type Camera = "live" | "lost" | "waiting";

/** One live stream in the lobby's list. */
export interface Stream {
  /** The lobby's name for it; a new one each time the host goes live. */
  readonly streamId: string;
  /** Untrusted text. */
  readonly title: string;
  /** Empty where the lobby does not say. */
  readonly hostUserId: string;
  /** Ms since the epoch by the lobby's clock; undefined where it does not say. */
  readonly startedAt: number | undefined;
  /** The lobby's own count. */
  readonly viewers: number;
  /** "live" where nobody says otherwise. */
  readonly camera: Camera;
}

export interface Offer {
  readonly streamId: string;
  readonly sdp: string;
}

/** `null` ends the host's candidates. */
export interface IncomingCandidate {
  readonly streamId: string;
  readonly candidate: RTCIceCandidateInit | null;
}

export interface Refusal {
  readonly streamId: string;
  readonly reason: string;
  /** How many viewers the host lets in, where it says so. */
  readonly max: number | undefined;
}

/** Which encoding of the picture a viewer is sent: the first, or the second, which is smaller. */
export interface Rendition {
  readonly name: "first" | "second";
  /** Why it is another one than before; empty where the host does not say, or says what is not known here. */
  readonly reason: "bandwidth" | "loss" | "retry" | "";
}

export interface SentRendition {
  readonly streamId: string;
  readonly rendition: Rendition;
}

/** What every connection begins with. */
export const FIRST: Rendition = { name: "first", reason: "" };

/** What a title may be long; the rest is cut off. */
const MAX_TITLE = 200;

type Fields = Record<string, unknown>;

function fields(value: unknown): Fields | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}

function count(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? Math.floor(value) : undefined;
}

function instant(value: unknown): number | undefined {
  const ms = typeof value === "number" ? value : typeof value === "string" ? Date.parse(value) : NaN;
  return Number.isFinite(ms) ? ms : undefined;
}

/** The list of `live:update` and of `live:list`'s acknowledgement; entries that name no stream are left out. */
export function parseStreams(value: unknown): Stream[] {
  if (!Array.isArray(value)) return [];
  const seen = new Set<string>();
  const streams: Stream[] = [];
  for (const entry of value) {
    const given = fields(entry);
    const streamId = text(given?.streamId);
    if (!given || streamId === "" || seen.has(streamId)) continue;
    seen.add(streamId);
    streams.push({
      streamId,
      title: text(given.title).trim().slice(0, MAX_TITLE) || "Untitled",
      hostUserId: text(given.hostUserId),
      startedAt: instant(given.startedAt),
      viewers: count(given.viewers) ?? 0,
      camera: given.camera === "lost" || given.camera === "waiting" ? given.camera : "live",
    });
  }
  return streams;
}

/** `live:signal-offer {streamId, offer: {type: "offer", sdp}}`. */
export function parseOffer(value: unknown): Offer | undefined {
  const given = fields(value);
  const offer = fields(given?.offer);
  const streamId = text(given?.streamId);
  if (streamId === "" || offer?.type !== "offer" || typeof offer.sdp !== "string") return undefined;
  return { streamId, sdp: offer.sdp };
}

/** `live:signal-ice {streamId, from, candidate}`; `null` or an empty candidate string ends them. */
export function parseCandidate(value: unknown): IncomingCandidate | undefined {
  const given = fields(value);
  const streamId = text(given?.streamId);
  if (!given || streamId === "") return undefined;
  if (given.candidate === null) return { streamId, candidate: null };
  const init = fields(given.candidate);
  if (!init || typeof init.candidate !== "string") return undefined;
  if (init.candidate === "") return { streamId, candidate: null };
  const mid = typeof init.sdpMid === "string" ? init.sdpMid : null;
  const line = count(init.sdpMLineIndex) ?? null;
  return {
    streamId,
    candidate: {
      candidate: init.candidate,
      // A browser refuses a candidate that names neither; everything is bundled on the first line.
      sdpMid: mid,
      sdpMLineIndex: mid === null && line === null ? 0 : line,
      ...(typeof init.usernameFragment === "string" ? { usernameFragment: init.usernameFragment } : {}),
    },
  };
}

/** `live:ended {streamId}`. */
export function parseEnded(value: unknown): string | undefined {
  return text(fields(value)?.streamId) || undefined;
}

/** `live:refused {streamId, reason, max}`. */
export function parseRefusal(value: unknown): Refusal | undefined {
  const given = fields(value);
  const streamId = text(given?.streamId);
  if (!given || streamId === "") return undefined;
  return { streamId, reason: text(given.reason), max: count(given.max) };
}

/** `live:rendition {streamId, rendition, reason}`. */
export function parseRendition(value: unknown): SentRendition | undefined {
  const given = fields(value);
  const streamId = text(given?.streamId);
  const name = given?.rendition;
  if (!given || streamId === "" || (name !== "first" && name !== "second")) return undefined;
  const { reason } = given;
  const known = reason === "bandwidth" || reason === "loss" || reason === "retry";
  return { streamId, rendition: { name, reason: known ? reason : "" } };
}
