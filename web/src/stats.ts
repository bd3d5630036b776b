import type { Sample } from "./quality";

type Entry = Record<string, unknown>;

/** Picks out of an `RTCStatsReport` what the page shows; undefined while there is no video in it. */
export function pickSample(report: ReadonlyMap<string, unknown>, at: number): Sample | undefined {
  const entries = [...report.values()] as Entry[];
  const video = entries.find((entry) => entry.type === "inbound-rtp" && entry.kind === "video");
  if (!video) return undefined;
  const codec = report.get(string(video.codecId)) as Entry | undefined;
  return {
    at,
    bytes: number(video.bytesReceived),
    packets: number(video.packetsReceived),
    lost: number(video.packetsLost),
    framesDecoded: number(video.framesDecoded),
    freezes: number(video.freezeCount),
    jitterBufferSeconds: number(video.jitterBufferDelay),
    emitted: number(video.jitterBufferEmittedCount),
    roundTrip: roundTrip(report, entries),
    width: number(video.frameWidth),
    height: number(video.frameHeight),
    codec: string(codec?.mimeType).replace(/^video\//, ""),
  };
}

/** The selected pair's; Firefox has no transport entry and marks the pair itself. */
function roundTrip(report: ReadonlyMap<string, unknown>, entries: Entry[]): number | undefined {
  const transport = entries.find((entry) => entry.type === "transport");
  const selected =
    (report.get(string(transport?.selectedCandidatePairId)) as Entry | undefined) ??
    entries.find((entry) => entry.type === "candidate-pair" && (entry.selected === true || entry.nominated === true));
  return typeof selected?.currentRoundTripTime === "number" ? selected.currentRoundTripTime : undefined;
}

function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

function string(value: unknown): string {
  return typeof value === "string" ? value : "";
}
