import { describe, expect, it } from "vitest";
import { parseCandidate, parseEnded, parseOffer, parseRefusal, parseRendition, parseStreams } from "../src/protocol";

const RUBBISH = [undefined, null, 7, "text", true, [], {}, [[]], { streamId: null }, { streamId: {} }, { streamId: "" }];

describe("the list", () => {
  it("is read as the protocol says", () => {
    const said = [
      { streamId: "a", title: "Coop", hostUserId: "u", startedAt: "2026-01-02T03:04:05.678Z", viewers: 3, more: 1 },
    ];
    expect(parseStreams(said)).toEqual([
      { streamId: "a", title: "Coop", hostUserId: "u", startedAt: Date.UTC(2026, 0, 2, 3, 4, 5, 678), viewers: 3, camera: "live" },
    ]);
  });

  it("makes the best of what is missing or wrong, and leaves out what names no stream", () => {
    const said = [
      ...RUBBISH,
      { streamId: "a" },
      { streamId: "a", title: "twice" },
      { streamId: 5, title: "   ", hostUserId: 7, startedAt: "yesterday", viewers: -1 },
      { streamId: "c", title: "x".repeat(10_000), startedAt: 1_000, viewers: 2.9 },
    ];
    const streams = parseStreams(said);
    expect(streams.map((stream) => stream.streamId)).toEqual(["a", "5", "c"]);
    expect(streams[0]).toEqual({ streamId: "a", title: "Untitled", hostUserId: "", startedAt: undefined, viewers: 0, camera: "live" });
    expect(streams[1]).toEqual({ streamId: "5", title: "Untitled", hostUserId: "7", startedAt: undefined, viewers: 0, camera: "live" });
    expect(streams[2]?.title).toHaveLength(200);
    expect(streams[2]?.startedAt).toBe(1_000);
    expect(streams[2]?.viewers).toBe(2);
  });

  it("says what viewers are shown, and takes what it does not know for the camera's picture", () => {
    const said = ["live", "lost", "waiting", "stolen", 7, null, undefined];
    const streams = parseStreams(said.map((camera, index) => ({ streamId: String(index), camera })));
    expect(streams.map(({ camera }) => camera)).toEqual(["live", "lost", "waiting", "live", "live", "live", "live"]);
  });

  it.each(RUBBISH)("is empty where it is no list: %j", (said) => {
    expect(parseStreams(said)).toEqual([]);
  });
});

describe("what the host says", () => {
  it.each(RUBBISH)("is nothing where it is rubbish: %j", (said) => {
    expect(parseOffer(said)).toBeUndefined();
    expect(parseCandidate(said)).toBeUndefined();
    expect(parseEnded(said)).toBeUndefined();
    expect(parseRefusal(said)).toBeUndefined();
    expect(parseRendition(said)).toBeUndefined();
  });

  it("takes offers, and nothing else for one", () => {
    expect(parseOffer({ streamId: "s", offer: { type: "offer", sdp: "v=0" } })).toEqual({ streamId: "s", sdp: "v=0" });
    for (const offer of [null, "v=0", { type: "answer", sdp: "v=0" }, { type: "offer" }, { sdp: "v=0" }]) {
      expect(parseOffer({ streamId: "s", offer })).toBeUndefined();
    }
  });

  it("takes candidates and their end", () => {
    const init = { candidate: "candidate:1", sdpMid: "video0", sdpMLineIndex: 0, usernameFragment: "u" };
    expect(parseCandidate({ streamId: "s", from: "h", candidate: init })).toEqual({ streamId: "s", candidate: init });
    expect(parseCandidate({ streamId: "s", candidate: null })).toEqual({ streamId: "s", candidate: null });
    expect(parseCandidate({ streamId: "s", candidate: { candidate: "" } })).toEqual({ streamId: "s", candidate: null });
    for (const candidate of ["candidate:1", 5, {}, { candidate: 5 }]) {
      expect(parseCandidate({ streamId: "s", candidate })).toBeUndefined();
    }
  });

  it("gives a candidate without a line the first one, as browsers refuse it otherwise", () => {
    const parsed = parseCandidate({ streamId: "s", candidate: { candidate: "candidate:1" } });
    expect(parsed?.candidate).toEqual({ candidate: "candidate:1", sdpMid: null, sdpMLineIndex: 0 });
    const named = parseCandidate({ streamId: "s", candidate: { candidate: "candidate:1", sdpMid: "a" } });
    expect(named?.candidate).toEqual({ candidate: "candidate:1", sdpMid: "a", sdpMLineIndex: null });
  });

  it("takes a refusal with and without a number", () => {
    expect(parseRefusal({ streamId: "s", reason: "full", max: 4 })).toEqual({ streamId: "s", reason: "full", max: 4 });
    expect(parseRefusal({ streamId: "s", max: "4" })).toEqual({ streamId: "s", reason: "", max: undefined });
  });

  it("takes a rendition with the reasons that it knows, and no other rendition", () => {
    const sent = (rendition: unknown, reason?: unknown) => parseRendition({ streamId: "s", rendition, reason });
    for (const reason of ["bandwidth", "loss", "retry"]) {
      expect(sent("second", reason)).toEqual({ streamId: "s", rendition: { name: "second", reason } });
    }
    for (const reason of [undefined, null, 7, "", "toString", {}, ["loss"]]) {
      expect(sent("first", reason)).toEqual({ streamId: "s", rendition: { name: "first", reason: "" } });
    }
    for (const name of [undefined, null, 2, "", "third", "First", ["second"], {}]) {
      expect(sent(name, "loss")).toBeUndefined();
    }
  });
});
