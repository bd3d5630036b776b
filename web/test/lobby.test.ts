import { describe, expect, it } from "vitest";
import { durationText, onlyStream, rows } from "../src/lobby";
import type { Stream } from "../src/protocol";

const stream = (streamId: string, startedAt: number | undefined, viewers = 0): Stream => ({
  streamId,
  title: `Camera ${streamId}`,
  hostUserId: streamId,
  startedAt,
  viewers,
  camera: "live",
});

describe("the list's lines", () => {
  it("are ready to be shown, longest live first", () => {
    expect(rows([stream("b", 60_000, 2), stream("a", 1_000, 1)], 61_500)).toEqual([
      { streamId: "a", title: "Camera a", camera: "live", viewers: "1 watching", duration: "1:00", watchLabel: "Watch Camera a" },
      { streamId: "b", title: "Camera b", camera: "live", viewers: "2 watching", duration: "0:01", watchLabel: "Watch Camera b" },
    ]);
  });

  it("keep their order whatever order the lobby sends them in", () => {
    const [a, b, c] = [stream("a", 5), stream("b", 5), stream("c", undefined)];
    for (const given of [[a, b, c], [c, b, a], [b, c, a]]) {
      expect(rows(given, 10).map((row) => row.streamId)).toEqual(["a", "b", "c"]);
    }
  });

  it("leave out a duration that nobody knows", () => {
    expect(rows([stream("a", undefined)], 10)[0]?.duration).toBe("");
  });
});

it.each([
  [-5_000, "0:00"],
  [0, "0:00"],
  [59_999, "0:59"],
  [754_000, "12:34"],
  [3_600_000, "1:00:00"],
  [86_399_000, "23:59:59"],
  [2 * 86_400_000 + 4 * 3_600_000 + 10 * 60_000, "2 d 04:10"],
  // A device that was started with its clock in 1970.
  [Date.UTC(2026, 0, 1), ""],
])("writes %i ms as %j", (ms, expected) => {
  expect(durationText(ms)).toBe(expected);
});

it("knows the only stream there is", () => {
  expect(onlyStream([])).toBeUndefined();
  expect(onlyStream([stream("a", 0)])?.streamId).toBe("a");
  expect(onlyStream([stream("a", 0), stream("b", 0)])).toBeUndefined();
});
