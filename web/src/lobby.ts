import type { Camera, Stream } from "./protocol";

/** One line of the list, ready to be shown. */
export interface Row {
  readonly streamId: string;
  readonly title: string;
  readonly camera: Camera;
  /** "1 watching". */
  readonly viewers: string;
  /** "12:04", empty where it is not known. */
  readonly duration: string;
  /** The button's full name for those who do not see the line it stands in. */
  readonly watchLabel: string;
}

/** A duration that no stream has: the clock it was started by was wrong. */
const TEN_YEARS_MS = 10 * 365 * 86_400_000;

/** `now` is in ms by the lobby's clock. Longest live first, so that lines do not jump about. */
export function rows(streams: readonly Stream[], now: number): Row[] {
  return [...streams]
    .sort((a, b) => (a.startedAt ?? now) - (b.startedAt ?? now) || compare(a.streamId, b.streamId))
    .map((stream) => ({
      streamId: stream.streamId,
      title: stream.title,
      camera: stream.camera,
      viewers: viewersText(stream.viewers),
      duration: stream.startedAt === undefined ? "" : durationText(now - stream.startedAt),
      watchLabel: `Watch ${stream.title}`,
    }));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function viewersText(viewers: number): string {
  return `${viewers} watching`;
}

/** "0:07", "12:04", "3:00:09", "2 d 04:10". */
export function durationText(ms: number): string {
  if (ms > TEN_YEARS_MS) return "";
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [d, h, m, s] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60,
    seconds % 60,
  ];
  const two = (n: number) => String(n).padStart(2, "0");
  if (d > 0) return `${d} d ${two(h)}:${two(m)}`;
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/**
 * The stream to watch without being asked: the only one there is, for somebody who came by the
 * device's watch link and has not chosen anything yet.
 */
export function onlyStream(streams: readonly Stream[]): Stream | undefined {
  return streams.length === 1 ? streams[0] : undefined;
}
