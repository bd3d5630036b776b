import { describe, expect, it } from "vitest";
import { QUICK_ATTEMPTS, TIMES } from "../src/watch";
import { LIVE, Stage, candidate, reconnecting, stream } from "./watch-stage";

describe("joining", () => {
  it("joins, answers the offer, and is live with the first frame", () => {
    const stage = new Stage();
    expect(stage.said()).toEqual(["join s1"]);
    expect(stage.phase).toEqual({ name: "connecting", attempt: 1 });
    stage.offer();
    expect(stage.said()).toEqual(["open 1"]);
    stage.do((watch, now) => watch.peer(now, 1, "connected"));
    expect(stage.phase.name).toBe("connecting");
    stage.frame();
    expect(stage.said()).toEqual(["show 1"]);
    expect(stage.phase).toEqual(LIVE);
  });

  it("keeps candidates that come before the offer, and passes on those after it", () => {
    const stage = new Stage();
    stage.do((watch, now) => watch.candidate(now, candidate("early")));
    stage.offer();
    stage.do((watch, now) => watch.candidate(now, candidate("late")));
    expect(stage.said()).toEqual(["join s1", "open 1", "candidate 1 early", "candidate 1 late"]);
  });

  it("keeps no more early candidates than any host has", () => {
    const stage = new Stage();
    for (let n = 0; n < 1_000; n++) stage.do((watch, now) => watch.candidate(now, candidate(String(n))));
    stage.offer();
    expect(stage.said().filter((line) => line.startsWith("candidate"))).toHaveLength(64);
  });

  it("ignores offers and candidates of other streams, and offers that nobody asked for", () => {
    const stage = new Stage();
    stage.said();
    stage.offer("other");
    stage.do((watch, now) => watch.candidate(now, { streamId: "other", candidate: { candidate: "c" } }));
    expect(stage.said()).toEqual([]);
    stage.do((watch, now) => watch.refused(now, { streamId: "s1", reason: "full", max: 1 }));
    stage.said();
    stage.offer();
    expect(stage.said()).toEqual([]);
  });

  it("takes a second offer for a new connection in place of the first", () => {
    const stage = new Stage();
    stage.offer().offer();
    expect(stage.said()).toEqual(["join s1", "open 1", "close 1", "open 2"]);
    stage.frame(1);
    expect(stage.phase.name).toBe("connecting");
    stage.frame(2);
    expect(stage.phase).toEqual(LIVE);
  });

  it("keeps the old picture until a rebuilt branch has one", () => {
    const stage = new Stage().live();
    stage.said();
    stage.offer();
    expect(stage.said()).toEqual(["open 2"]);
    expect(stage.phase).toEqual(LIVE);
    stage.frame(2);
    expect(stage.said()).toEqual(["close 1", "show 2"]);
  });

  it("calls the stream ended where there is none to join", () => {
    const stage = new Stage();
    stage.do((watch, now) => watch.joined(now, "s1", false));
    expect(stage.phase).toEqual({ name: "ended", again: false, waiting: true });
  });
});

describe("trying again", () => {
  it("leaves and joins again where no offer comes, waiting longer each time, then fails and goes on slowly", () => {
    const stage = new Stage();
    stage.said();
    const waits: number[] = [];
    for (let attempt = 1; attempt < QUICK_ATTEMPTS; attempt++) {
      stage.pass(TIMES.offer);
      expect(stage.said()).toEqual(["leave s1"]);
      expect(stage.phase).toEqual({ name: "connecting", attempt: attempt + 1 });
      waits.push((stage.watch.deadline() ?? 0) - stage.now);
      stage.pass(waits.at(-1) ?? 0);
      expect(stage.said()).toEqual(["join s1"]);
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 8_000]);
    stage.pass(TIMES.offer);
    expect(stage.phase).toEqual({ name: "failed", why: "no-offer", final: false });
    stage.said();
    stage.pass(TIMES.retrySlow - 1);
    expect(stage.said()).toEqual([]);
    stage.pass(1);
    expect(stage.said()).toEqual(["join s1"]);
    // Not news until something comes of it.
    expect(stage.phase.name).toBe("failed");
    stage.offer();
    expect(stage.phase.name).toBe("connecting");
    stage.frame();
    expect(stage.phase).toEqual(LIVE);
  });

  it("spreads the retries of many viewers", () => {
    const early = new Stage([], () => 0).pass(TIMES.offer);
    const late = new Stage([], () => 0.999).pass(TIMES.offer);
    expect((early.watch.deadline() ?? 0) - early.now).toBe(500);
    expect((late.watch.deadline() ?? 0) - late.now).toBeGreaterThan(990);
  });

  it("tells a missing path from a missing picture", () => {
    const noPath = new Stage().offer();
    const noPicture = new Stage().offer();
    noPicture.do((watch, now) => watch.peer(now, 1, "connected"));
    for (const stage of [noPath, noPicture]) {
      stage.pass(TIMES.frame);
      expect(stage.said()).toContain("close 1");
      for (let attempt = 2; attempt <= QUICK_ATTEMPTS; attempt++) {
        stage.pass(TIMES.retryCap);
        stage.offer();
        if (stage === noPicture) stage.do((watch, now) => watch.peer(now, stage.peer, "connected"));
        stage.pass(TIMES.frame);
      }
    }
    expect(noPath.phase).toEqual({ name: "failed", why: "media", final: false });
    expect(noPicture.phase).toEqual({ name: "failed", why: "no-frame", final: false });
  });

  it("joins again when the connection fails, and says so", () => {
    const stage = new Stage().live();
    stage.said();
    stage.do((watch, now) => watch.peer(now, 1, "failed"));
    expect(stage.said()).toEqual(["close 1", "leave s1"]);
    expect(stage.phase).toEqual(reconnecting("media"));
    stage.pass(TIMES.retryFirst);
    expect(stage.said()).toEqual(["join s1"]);
    stage.live();
    expect(stage.phase).toEqual(LIVE);
  });

  it("bears a short disconnection, not a long one", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.peer(now, 1, "disconnected"));
    stage.flow(2_000);
    stage.do((watch, now) => watch.peer(now, 1, "connected"));
    stage.flow(10_000);
    expect(stage.phase).toEqual(LIVE);
    stage.do((watch, now) => watch.peer(now, 1, "disconnected"));
    stage.pass(TIMES.disconnected);
    expect(stage.phase).toEqual(reconnecting("media"));
  });

  it("says that the picture stalls, takes it back when it moves, and gives it up when it does not", () => {
    const stage = new Stage().live();
    stage.said();
    stage.pass(TIMES.stalled);
    expect(stage.phase).toEqual(reconnecting("stalled"));
    stage.list([stream("s1")]);
    expect(stage.phase).toEqual(reconnecting("stalled"));
    stage.frame();
    expect(stage.phase).toEqual(LIVE);
    expect(stage.said()).toEqual([]);
    stage.pass(TIMES.dead);
    expect(stage.said()).toEqual(["close 1", "leave s1"]);
  });

  it("forgets failures after a steady picture only", () => {
    const stage = new Stage();
    stage.pass(TIMES.offer + TIMES.retryFirst).live();
    stage.do((watch, now) => watch.peer(now, stage.peer, "failed"));
    expect((stage.watch.deadline() ?? 0) - stage.now).toBe(2_000);
    stage.pass(2_000).live().flow(TIMES.steady + 1_000);
    stage.do((watch, now) => watch.peer(now, stage.peer, "failed"));
    expect((stage.watch.deadline() ?? 0) - stage.now).toBe(1_000);
  });

  it("does not try again where the browser cannot decode what is offered", () => {
    const stage = new Stage().offer();
    stage.do((watch, now) => watch.broken(now, 1, "codec"));
    expect(stage.phase).toEqual({ name: "failed", why: "codec", final: true });
    expect(stage.said()).toEqual(["join s1", "open 1", "close 1", "leave s1"]);
    stage.pass(3_600_000).relisted([stream("s1")]).pass(60_000);
    expect(stage.said()).toEqual([]);
    stage.do((watch, now) => watch.retry(now));
    expect(stage.said()).toEqual(["join s1"]);
  });

  it("tries again after an offer that cannot be taken", () => {
    const stage = new Stage().offer();
    stage.do((watch, now) => watch.broken(now, 1, "offer"));
    stage.said();
    stage.pass(TIMES.retryFirst);
    expect(stage.said()).toEqual(["join s1"]);
  });

  it("tries at once when a person asks", () => {
    const stage = new Stage();
    for (let n = 0; n < 20; n++) stage.pass(10_000);
    expect(stage.phase.name).toBe("failed");
    stage.said();
    stage.do((watch, now) => watch.retry(now));
    expect(stage.said().at(-1)).toBe("join s1");
    expect(stage.phase).toEqual({ name: "connecting", attempt: 1 });
  });
});

describe("a full host", () => {
  const refused = { streamId: "s1", reason: "full", max: 2 };

  it("says so, leaves, and knocks again with growing pauses", () => {
    const stage = new Stage();
    stage.said();
    const pauses: number[] = [];
    for (let n = 0; n < 6; n++) {
      stage.do((watch, now) => watch.refused(now, refused));
      expect(stage.said()).toEqual(["leave s1"]);
      expect(stage.phase).toEqual({ name: "full", max: 2 });
      pauses.push((stage.watch.deadline() ?? 0) - stage.now);
      stage.pass(pauses.at(-1) ?? 0);
      expect(stage.said()).toEqual(["join s1"]);
      expect(stage.phase.name).toBe("full");
    }
    expect(pauses).toEqual([4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    stage.live();
    expect(stage.phase).toEqual(LIVE);
  });

  it("is not full when it is only busy: the next try comes soon", () => {
    const stage = new Stage();
    stage.said();
    stage.do((watch, now) => watch.refused(now, { streamId: "s1", reason: "busy", max: undefined }));
    expect(stage.said()).toEqual(["leave s1"]);
    expect(stage.phase.name).toBe("connecting");
    const pause = (stage.watch.deadline() ?? 0) - stage.now;
    expect(pause).toBeLessThanOrEqual(1_000);
    stage.pass(pause);
    expect(stage.said()).toEqual(["join s1"]);
  });

  it("comes sooner when the list shows a place, but only the first time", () => {
    const stage = new Stage();
    stage.do((watch, now) => watch.refused(now, refused));
    stage.list([stream("s1", { viewers: 2 })]);
    expect((stage.watch.deadline() ?? 0) - stage.now).toBe(4_000);
    stage.list([stream("s1", { viewers: 1 })]);
    expect((stage.watch.deadline() ?? 0) - stage.now).toBe(1_500);
    stage.pass(1_500);
    stage.do((watch, now) => watch.refused(now, refused));
    stage.list([stream("s1", { viewers: 1 })]);
    expect((stage.watch.deadline() ?? 0) - stage.now).toBe(8_000);
  });

  it("keeps the old picture where its own ghost takes the place", () => {
    const stage = new Stage().live().relisted([stream("s1")]);
    stage.do((watch, now) => watch.refused(now, refused));
    expect(stage.phase).toEqual(LIVE);
    stage.do((watch, now) => watch.peer(now, 1, "closed"));
    expect(stage.phase).toEqual(reconnecting("hung-up"));
    stage.said();
    stage.pass(TIMES.retryFirst);
    expect(stage.said()).toEqual(["join s1"]);
  });
});
