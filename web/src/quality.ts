/**
 * How good the connection is, from two looks at the receiver's statistics (W3C webrtc-stats).
 * Pure: `stats.ts` takes the looks.
 */

/** Counters as they stand at one instant. */
export interface Sample {
  /** Ms, by any steady clock. */
  readonly at: number;
  readonly bytes: number;
  readonly packets: number;
  /** Packets given up; may fall when late ones arrive. */
  readonly lost: number;
  readonly framesDecoded: number;
  readonly freezes: number;
  /** Seconds that frames spent in the jitter buffer, summed over `emitted` frames. */
  readonly jitterBufferSeconds: number;
  readonly emitted: number;
  /** Seconds; undefined until the first answer. */
  readonly roundTrip: number | undefined;
  readonly width: number;
  readonly height: number;
  /** "H264", empty until it is known. */
  readonly codec: string;
}

export type Level = "none" | "poor" | "fair" | "good" | "excellent";

export interface Quality {
  readonly level: Level;
  /** Bit/s. */
  readonly bitrate: number;
  readonly fps: number;
  /** Ms; undefined where it is not known. */
  readonly rttMs: number | undefined;
  /** Share of packets lost, 0 to 1. */
  readonly loss: number;
  /** Mean ms that a frame waited in the jitter buffer. */
  readonly bufferMs: number | undefined;
  readonly resolution: string;
  readonly codec: string;
}

/** What is measured over: long enough to be calm, short enough to be true. */
const WINDOW_MS = 3_000;
/** The best frame rate of this long ago is what the camera is taken to give. */
const NOMINAL_MS = 60_000;
/** What has piled up while pictures were waited for comes at once, within this time: faster than any camera. */
const PILED_UP_MS = 1_000;

const WORDS: Record<Level, string> = {
  none: "No picture",
  poor: "Poor",
  fair: "Fair",
  good: "Good",
  excellent: "Excellent",
};

/** 0 to 4 bars. */
export const BARS: Record<Level, number> = { none: 0, poor: 1, fair: 2, good: 3, excellent: 4 };

/** Keeps the last seconds' samples of one connection and judges them. */
export class Meter {
  #samples: Sample[] = [];
  #rates: { at: number; fps: number }[] = [];
  #latest: Quality | undefined;
  /** When pictures last had been waited for. */
  #waitedAt = -Infinity;

  /** Undefined until there are two samples to compare. */
  add(sample: Sample): Quality | undefined {
    this.#latest = this.#add(sample);
    return this.#latest;
  }

  #add(sample: Sample): Quality | undefined {
    const before = this.#samples.at(-1);
    // What was waited for at the change to another rendition is its first keyframe. It says nothing of what comes after.
    const changed = before !== undefined && isOfAnotherSize(before, sample);
    if (changed) this.#samples = [];
    if (changed || (before && sample.freezes > before.freezes)) this.#waitedAt = sample.at;
    this.#samples = this.#samples.filter((old) => sample.at - old.at <= WINDOW_MS && old.at < sample.at);
    this.#samples.push(sample);
    const first = this.#samples[0];
    if (first === undefined || first === sample) {
      return changed && this.#latest ? { ...this.#latest, resolution: resolution(sample) } : undefined;
    }
    const seconds = (sample.at - first.at) / 1000;
    const fps = rate(sample.framesDecoded - first.framesDecoded, seconds);
    // Over less than a second a frame more or less would pass for another camera.
    const steady = first.at - this.#waitedAt >= PILED_UP_MS;
    if (seconds >= 1 && steady) this.#rates.push({ at: sample.at, fps });
    this.#rates = this.#rates.filter((old) => sample.at - old.at <= NOMINAL_MS);
    const nominal = Math.max(fps, ...this.#rates.map((old) => old.fps));
    return judge(first, sample, seconds, fps, nominal);
  }
}

function judge(first: Sample, last: Sample, seconds: number, fps: number, nominal: number): Quality {
  const lost = Math.max(0, last.lost - first.lost);
  const expected = lost + Math.max(0, last.packets - first.packets);
  const emitted = last.emitted - first.emitted;
  const measured = {
    bitrate: rate((last.bytes - first.bytes) * 8, seconds),
    fps,
    rttMs: last.roundTrip === undefined ? undefined : last.roundTrip * 1000,
    loss: expected > 0 ? lost / expected : 0,
    bufferMs: emitted > 0 ? ((last.jitterBufferSeconds - first.jitterBufferSeconds) / emitted) * 1000 : undefined,
    resolution: resolution(last),
    codec: last.codec,
  };
  return { ...measured, level: level(measured, nominal, last.freezes > first.freezes) };
}

function resolution({ width, height }: Sample): string {
  return width > 0 ? `${width}×${height}` : "";
}

/** Where either has none, there was no picture yet. */
function isOfAnotherSize(one: Sample, other: Sample): boolean {
  return one.width > 0 && other.width > 0 && (one.width !== other.width || one.height !== other.height);
}

type Measured = Omit<Quality, "level">;

function level(measured: Measured, nominal: number, froze: boolean): Level {
  if (measured.fps === 0) return "none";
  const { loss } = measured;
  const rtt = measured.rttMs ?? 0;
  const buffer = measured.bufferMs ?? 0;
  const smooth = nominal > 0 ? measured.fps / nominal : 1;
  if (loss > 0.08 || rtt > 800 || smooth < 0.5) return "poor";
  if (froze || loss > 0.03 || rtt > 400 || buffer > 400 || smooth < 0.75) return "fair";
  if (loss > 0.005 || rtt > 150 || buffer > 150 || smooth < 0.9) return "good";
  return "excellent";
}

function rate(amount: number, seconds: number): number {
  return Math.max(0, amount) / seconds;
}

/** "Good". */
export function levelText(quality: Quality): string {
  return WORDS[quality.level];
}

/** The line beside the bars: "2.1 Mbit/s · 30 fps · 12 ms · 0 % loss". */
export function measuredText(quality: Quality): string {
  const rtt = quality.rttMs === undefined ? [] : [`${millis(quality.rttMs)} ms`];
  return [bitrateText(quality.bitrate), `${Math.round(quality.fps)} fps`, ...rtt, `${percentText(quality.loss)} loss`].join(
    " · ",
  );
}

/** Name and value of everything measured, for the panel. */
export function details(quality: Quality): [string, string][] {
  const known = (value: number | undefined, unit: string) => (value === undefined ? "–" : `${millis(value)} ${unit}`);
  return [
    ["Resolution", quality.resolution || "–"],
    ["Frame rate", `${Math.round(quality.fps)} fps`],
    ["Bit rate", bitrateText(quality.bitrate)],
    ["Round trip", known(quality.rttMs, "ms")],
    ["Packet loss", percentText(quality.loss)],
    ["Jitter buffer", known(quality.bufferMs, "ms")],
    ["Codec", quality.codec || "–"],
  ];
}

function millis(ms: number): string {
  return ms > 0 && ms < 1 ? "< 1" : String(Math.round(ms));
}

export function bitrateText(bitsPerSecond: number): string {
  return bitsPerSecond >= 999_500
    ? `${(bitsPerSecond / 1_000_000).toFixed(1)} Mbit/s`
    : `${Math.round(bitsPerSecond / 1000)} kbit/s`;
}

export function percentText(share: number): string {
  const percent = share * 100;
  if (percent > 0 && percent < 0.1) return "< 0.1 %";
  return percent > 0 && percent < 10 ? `${percent.toFixed(1)} %` : `${Math.round(percent)} %`;
}
