import { describe, expect, it } from "vitest";
import { bitrateText, details, levelText, measuredText, Meter, percentText, type Quality, type Sample } from "../src/quality";
import { pickSample } from "../src/stats";

interface Worse {
  fps?: number;
  loss?: number;
  rtt?: number;
  buffer?: number;
  freezes?: number;
}

/** A link that carries 30 fps and 2 Mbit/s in 230 packets a second, with what is given made worse. */
class Link {
  readonly meter = new Meter();
  #sample: Sample = {
    at: 0,
    bytes: 0,
    packets: 0,
    lost: 0,
    framesDecoded: 0,
    freezes: 0,
    jitterBufferSeconds: 0,
    emitted: 0,
    roundTrip: 0.012,
    width: 1280,
    height: 720,
    codec: "H264",
  };

  run(seconds: number, more: Worse = {}) {
    let quality: Quality | undefined;
    const { fps = 30, loss = 0, rtt = 0.012, buffer = 0.01, freezes = 0 } = more;
    for (let n = 0; n < seconds; n++) {
      const last = this.#sample;
      this.#sample = {
        ...last,
        at: last.at + 1_000,
        bytes: last.bytes + 250_000,
        packets: last.packets + 230 * (1 - loss),
        lost: last.lost + 230 * loss,
        framesDecoded: last.framesDecoded + fps,
        freezes: last.freezes + freezes,
        jitterBufferSeconds: last.jitterBufferSeconds + buffer * fps,
        emitted: last.emitted + fps,
        roundTrip: rtt,
      };
      quality = this.meter.add(this.#sample);
    }
    if (!quality) throw new Error("one sample says nothing");
    return quality;
  }

  /** The next samples are of a picture of this size. */
  resize(width: number, height: number): this {
    this.#sample = { ...this.#sample, width, height };
    return this;
  }
}

describe("another rendition", () => {
  it("is no worse a connection for its size, nor for the wait at the change", () => {
    const link = new Link();
    link.run(50);
    // One second without a picture until its first keyframe, which counts as a freeze.
    link.run(1, { fps: 0 });
    expect(levelText(link.resize(640, 360).run(1, { fps: 5, freezes: 1 }))).not.toBe("No picture");
    const after = link.run(1);
    expect(after).toMatchObject({ level: "excellent", resolution: "640×360" });
    expect(after.fps).toBeCloseTo(30);
    expect(levelText(link.resize(1280, 720).run(1))).toBe("Excellent");
    expect(levelText(link.run(1))).toBe("Excellent");
  });

  it("does not take what piled up before it for the camera's pace", () => {
    const link = new Link();
    link.run(50);
    link.resize(640, 360).run(1, { fps: 0 });
    link.run(1, { fps: 75 });
    for (let second = 0; second < 30; second++) {
      expect(levelText(link.run(1)), `after ${second + 1} s`).toBe("Excellent");
    }
  });

  it("keeps the last figures up until it has some of its own, with its size", () => {
    const link = new Link();
    const before = link.run(10, { rtt: 0.5 });
    expect(link.resize(640, 360).run(1)).toEqual({ ...before, resolution: "640×360" });
  });

  it("does not hide that fewer pictures come", () => {
    const link = new Link();
    link.run(50);
    expect(levelText(link.resize(640, 360).run(3, { fps: 10 }))).toBe("Poor");
  });

  it("has nothing to keep up where nothing was measured", () => {
    const link = new Link();
    expect(() => link.run(1)).toThrow();
    expect(() => link.resize(640, 360).run(1)).toThrow();
    expect(link.run(1).resolution).toBe("640×360");
  });

  it("is not what the first picture is", () => {
    const link = new Link().resize(0, 0);
    link.run(2);
    expect(link.resize(640, 360).run(1).bitrate).toBeCloseTo(2_000_000);
  });
});

describe("measuring", () => {
  it("says nothing from one sample", () => {
    const link = new Link();
    expect(() => link.run(1)).toThrow();
  });

  it("gives rates per second over the last seconds", () => {
    const quality = new Link().run(20);
    expect(quality.bitrate).toBeCloseTo(2_000_000);
    expect(quality.fps).toBeCloseTo(30);
    expect(quality.rttMs).toBeCloseTo(12);
    expect(quality.bufferMs).toBeCloseTo(10);
    expect(quality.loss).toBe(0);
    expect(measuredText(quality)).toBe("2.0 Mbit/s · 30 fps · 12 ms · 0 % loss");
    expect(Object.fromEntries(details(quality))).toEqual({
      Resolution: "1280×720",
      "Frame rate": "30 fps",
      "Bit rate": "2.0 Mbit/s",
      "Round trip": "12 ms",
      "Packet loss": "0 %",
      "Jitter buffer": "10 ms",
      Codec: "H264",
    });
  });

  it("does not go below nothing when late packets are found again", () => {
    const meter = new Meter();
    const sample = (at: number, lost: number): Sample => ({
      ...{ bytes: 0, packets: at, framesDecoded: at, freezes: 0, jitterBufferSeconds: 0, emitted: 0 },
      ...{ roundTrip: undefined, width: 0, height: 0, codec: "", at, lost },
    });
    meter.add(sample(1_000, 5));
    const quality = meter.add(sample(2_000, 2));
    expect(quality?.loss).toBe(0);
    expect(quality?.rttMs).toBeUndefined();
    expect(quality?.bufferMs).toBeUndefined();
    expect(quality && measuredText(quality)).not.toContain(" ms");
    expect(quality && details(quality).filter(([, value]) => value === "–").map(([name]) => name)).toEqual([
      "Resolution",
      "Round trip",
      "Jitter buffer",
      "Codec",
    ]);
  });
});

describe("judging", () => {
  it.each([
    [{}, "Excellent"],
    [{ fps: 0 }, "No picture"],
    [{ loss: 0.01 }, "Good"],
    [{ loss: 0.04 }, "Fair"],
    [{ loss: 0.1 }, "Poor"],
    [{ rtt: 0.2 }, "Good"],
    [{ rtt: 0.5 }, "Fair"],
    [{ rtt: 1 }, "Poor"],
    [{ fps: 26 }, "Good"],
    [{ fps: 20 }, "Fair"],
    [{ fps: 10 }, "Poor"],
    [{ freezes: 1 }, "Fair"],
    [{ buffer: 0.2 }, "Good"],
    [{ buffer: 0.5 }, "Fair"],
  ] as const)("after a good minute, %j is %s", (more, expected) => {
    const link = new Link();
    link.run(50);
    expect(levelText(link.run(5, more))).toBe(expected);
  });

  it("does not hold what piles up in a freeze against what comes after it", () => {
    const link = new Link();
    link.run(50);
    link.run(1, { fps: 0 });
    link.run(1, { fps: 60, freezes: 1 });
    link.run(3);
    expect(levelText(link.run(1))).toBe("Excellent");
  });

  it("takes a slow camera for what it is", () => {
    expect(levelText(new Link().run(10, { fps: 5 }))).toBe("Excellent");
  });

  it("forgets after a minute how fast the camera once was", () => {
    const link = new Link();
    link.run(10);
    expect(levelText(link.run(70, { fps: 10 }))).toBe("Excellent");
  });
});

it("writes numbers for people", () => {
  expect([0, 940_000, 999_499, 999_500, 2_140_000].map(bitrateText)).toEqual([
    "0 kbit/s",
    "940 kbit/s",
    "999 kbit/s",
    "1.0 Mbit/s",
    "2.1 Mbit/s",
  ]);
  expect([0, 0.0004, 0.034, 0.5, 1].map(percentText)).toEqual(["0 %", "< 0.1 %", "3.4 %", "50 %", "100 %"]);
});

describe("reading the browser's report", () => {
  const video = {
    type: "inbound-rtp",
    kind: "video",
    codecId: "C",
    bytesReceived: 1000,
    packetsReceived: 10,
    packetsLost: 1,
    framesDecoded: 5,
    freezeCount: 2,
    jitterBufferDelay: 0.5,
    jitterBufferEmittedCount: 4,
    frameWidth: 640,
    frameHeight: 360,
  };

  it("finds the video, its codec and the selected pair", () => {
    const report = new Map<string, unknown>([
      ["A", { type: "inbound-rtp", kind: "audio", packetsReceived: 99 }],
      ["V", video],
      ["C", { type: "codec", mimeType: "video/H264" }],
      ["T", { type: "transport", selectedCandidatePairId: "P2" }],
      ["P1", { type: "candidate-pair", nominated: true, currentRoundTripTime: 9 }],
      ["P2", { type: "candidate-pair", currentRoundTripTime: 0.02 }],
    ]);
    expect(pickSample(report, 7)).toEqual({
      at: 7,
      bytes: 1000,
      packets: 10,
      lost: 1,
      framesDecoded: 5,
      freezes: 2,
      jitterBufferSeconds: 0.5,
      emitted: 4,
      roundTrip: 0.02,
      width: 640,
      height: 360,
      codec: "H264",
    });
  });

  it("does without what a browser does not report", () => {
    const report = new Map<string, unknown>([
      ["V", { type: "inbound-rtp", kind: "video" }],
      ["P", { type: "candidate-pair", selected: true, currentRoundTripTime: 0.03 }],
    ]);
    expect(pickSample(report, 0)).toMatchObject({ bytes: 0, framesDecoded: 0, codec: "", roundTrip: 0.03 });
    expect(pickSample(new Map(), 0)).toBeUndefined();
  });
});
