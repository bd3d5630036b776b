import { describe, expect, it } from "vitest";
import type { Stream } from "../src/protocol";
import { QUICK_ATTEMPTS, TIMES, Watch, type Effect, type PeerId, type Why } from "../src/watch";

const stream = (streamId: string, more: Partial<Stream> = {}): Stream => ({
  streamId,
  title: "Coop",
  hostUserId: "coop",
  startedAt: 0,
  viewers: 1,
  camera: "live",
  ...more,
});

/** A watch in virtual time: every step carries its effects out into a log. */
class Stage {
  now = 1_000;
  readonly log: string[] = [];
  readonly watch: Watch;
  peer: PeerId = 0;
  frames = 0;

  constructor(beside: Stream[] = [], random = () => 1) {
    this.watch = new Watch(this.now, stream("s1"), beside, random);
    this.#drain();
  }

  do(input: (watch: Watch, now: number) => void): this {
    input(this.watch, this.now);
    this.#drain();
    return this;
  }

  /** Runs the clock on, ticking exactly when the watch asks for it. */
  pass(ms: number): this {
    const end = this.now + ms;
    for (;;) {
      const due = this.watch.deadline();
      if (due === undefined || due > end) break;
      this.now = Math.max(this.now, due);
      this.do((watch, now) => watch.tick(now));
    }
    this.now = end;
    return this;
  }

  /** The same with a frame every second on the connection that is newest. */
  flow(ms: number): this {
    for (let passed = 0; passed < ms; passed += 500) {
      this.pass(500);
      this.frame();
    }
    return this;
  }

  offer(streamId = this.watch.stream.streamId): this {
    return this.do((watch, now) => watch.offer(now, { streamId, sdp: "v=0" }));
  }

  frame(peer = this.peer): this {
    this.frames += 1;
    return this.do((watch, now) => watch.frames(now, peer, this.frames));
  }

  live(): this {
    this.offer();
    this.do((watch, now) => watch.peer(now, this.peer, "connected"));
    return this.frame();
  }

  /** The line breaks and comes back with this list. */
  relisted(streams: Stream[]): this {
    this.do((watch, now) => watch.lineDown(now));
    return this.list(streams);
  }

  list(streams: Stream[]): this {
    return this.do((watch, now) => watch.list(now, streams));
  }

  said(): string[] {
    return this.log.splice(0);
  }

  get phase() {
    return this.watch.phase;
  }

  #drain(): void {
    for (const effect of this.watch.drain()) {
      if (effect.do === "open") this.peer = effect.peer;
      this.log.push(spell(effect));
    }
  }
}

function spell(effect: Effect): string {
  switch (effect.do) {
    case "join":
    case "leave":
      return `${effect.do} ${effect.streamId}`;
    case "candidate":
      return `candidate ${effect.peer} ${effect.candidate?.candidate ?? "end"}`;
    default:
      return `${effect.do} ${effect.peer}`;
  }
}

const candidate = (text: string) => ({ streamId: "s1", candidate: { candidate: text } });
const reconnecting = (why: Why) => ({ name: "reconnecting", why });
const LIVE = { name: "live", lobbyLost: false, camera: "live" };

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

describe("a new line to the lobby", () => {
  it("keeps the picture, joins under the new name, and changes over with the first frame", () => {
    const stage = new Stage().live();
    stage.said();
    stage.do((watch, now) => watch.lineDown(now));
    expect(stage.phase).toEqual({ ...LIVE, lobbyLost: true });
    stage.flow(3_000);
    stage.peer = 1;
    stage.list([stream("s1")]);
    expect(stage.said()).toEqual(["join s1"]);
    expect(stage.phase).toEqual(LIVE);
    stage.offer();
    expect(stage.said()).toEqual(["open 2"]);
    stage.frame(2);
    expect(stage.said()).toEqual(["close 1", "show 2"]);
    expect(stage.phase).toEqual(LIVE);
  });

  it("goes on with the join when the old picture stops meanwhile", () => {
    const stage = new Stage().live().relisted([stream("s1")]);
    stage.said();
    stage.do((watch, now) => watch.peer(now, 1, "closed"));
    expect(stage.phase).toEqual(reconnecting("hung-up"));
    expect(stage.said()).toEqual(["close 1"]);
    stage.live();
    expect(stage.phase).toEqual(LIVE);
  });

  it("keeps a picture that flows when the host is back under a new id, and joins that only when it stops", () => {
    const stage = new Stage().live();
    stage.said();
    stage.relisted([stream("s2")]);
    stage.flow(60_000);
    expect(stage.said()).toEqual([]);
    expect(stage.phase).toEqual(LIVE);
    expect(stage.watch.stream.streamId).toBe("s2");
    stage.do((watch, now) => watch.peer(now, 1, "failed"));
    stage.pass(TIMES.retryFirst);
    expect(stage.said()).toEqual(["close 1", "leave s2", "join s2"]);
  });

  it("keeps a picture that flows while no host is in the lobby", () => {
    const stage = new Stage().live().relisted([]);
    stage.flow(300_000);
    expect(stage.phase).toEqual({ ...LIVE, lobbyLost: true });
    stage.list([stream("s2")]);
    expect(stage.phase).toEqual(LIVE);
  });

  it("joins anew what had not come to a picture", () => {
    const stage = new Stage();
    stage.said();
    stage.do((watch, now) => watch.lineDown(now));
    expect(stage.phase).toEqual(reconnecting("line"));
    stage.pass(60_000);
    expect(stage.said()).toEqual([]);
    stage.list([stream("s1")]);
    expect(stage.said()).toEqual(["join s1"]);
  });

  it("waits as long as the line is down, whatever was lost", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.lineDown(now));
    stage.do((watch, now) => watch.peer(now, 1, "failed"));
    stage.said();
    stage.pass(3_600_000);
    expect(stage.phase).toEqual(reconnecting("line"));
    expect(stage.said()).toEqual([]);
    stage.list([stream("s1")]);
    expect(stage.said()).toEqual(["join s1"]);
  });

  it("waits for a host that is away, joins it when it is back, and gives up after the grace", () => {
    const back = new Stage().live().relisted([]);
    back.do((watch, now) => watch.peer(now, 1, "failed"));
    expect(back.phase).toEqual(reconnecting("host-away"));
    back.pass(TIMES.grace - 1);
    expect(back.phase).toEqual(reconnecting("host-away"));
    back.said();
    back.list([stream("s2")]);
    expect(back.said()).toEqual(["join s2"]);

    const gone = new Stage().live().relisted([]);
    gone.do((watch, now) => watch.peer(now, 1, "failed"));
    gone.pass(TIMES.grace);
    expect(gone.phase).toEqual({ name: "ended", again: false, waiting: false });
  });
});

describe("a camera that is lost", () => {
  const lost = { camera: "lost" } as const;

  it("is told by the list, and so is its return", () => {
    const stage = new Stage().live();
    stage.said();
    stage.list([stream("s1", lost)]).flow(60_000);
    expect(stage.phase).toEqual({ ...LIVE, camera: "lost" });
    stage.list([stream("s1")]);
    expect(stage.phase).toEqual(LIVE);
    expect(stage.said()).toEqual([]);
  });

  it("is known to whoever comes, and after the host came back under a new id", () => {
    const stage = new Stage().list([stream("s1", lost)]).live();
    expect(stage.phase).toEqual({ ...LIVE, camera: "lost" });
    stage.relisted([stream("s2")]).flow(5_000);
    expect(stage.phase).toEqual(LIVE);
    stage.list([stream("s2", lost)]);
    expect(stage.phase).toEqual({ ...LIVE, camera: "lost" });
  });
});

describe("the end", () => {
  it("ends at once when the host hangs up after the lobby's word", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.list([]);
    expect(stage.phase).toEqual({ ...LIVE, lobbyLost: true });
    stage.do((watch, now) => watch.peer(now, 1, "closed"));
    expect(stage.phase).toEqual({ name: "ended", again: false, waiting: true });
  });

  it("ends soon when the picture merely stops after the lobby's word", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.pass(TIMES.endedStall);
    expect(stage.phase.name).toBe("ended");
  });

  it("is not fooled by a list from before the end", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.list([stream("s1")]);
    stage.pass(TIMES.endedStall);
    expect(stage.phase.name).toBe("ended");
  });

  it("keeps the picture when only the host's line broke", () => {
    const stage = new Stage().live();
    stage.said();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.list([]).flow(5_000).list([stream("s2")]).flow(60_000);
    expect(stage.phase).toEqual(LIVE);
    expect(stage.said()).toEqual([]);
  });

  it("goes on by itself when the host is back soon", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.do((watch, now) => watch.peer(now, 1, "closed"));
    stage.pass(TIMES.grace - 1).said();
    stage.list([stream("s2")]);
    expect(stage.said()).toEqual(["join s2"]);
    stage.live();
    expect(stage.phase).toEqual(LIVE);
  });

  it("offers to watch again when the host is back late, and withdraws that when it goes", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.pass(TIMES.endedStall + TIMES.grace).said();
    expect(stage.phase).toEqual({ name: "ended", again: false, waiting: false });
    stage.list([stream("s2")]);
    expect(stage.said()).toEqual([]);
    expect(stage.phase).toEqual({ name: "ended", again: true, waiting: false });
    stage.list([]);
    expect(stage.phase).toEqual({ name: "ended", again: false, waiting: false });
    stage.do((watch, now) => watch.retry(now));
    expect(stage.said()).toEqual([]);
    stage.list([stream("s3")]);
    stage.do((watch, now) => watch.retry(now));
    expect(stage.said()).toEqual(["join s3"]);
    expect(stage.phase).toEqual({ name: "connecting", attempt: 1 });
    stage.live();
    expect(stage.phase).toEqual(LIVE);
  });

  it("does not take the host's other streams for its return", () => {
    const yard = stream("s9", { title: "Yard" });
    const stage = new Stage([yard]).live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.do((watch, now) => watch.peer(now, 1, "closed"));
    stage.said();
    stage.list([yard, stream("s8", { hostUserId: "somebody" })]);
    expect(stage.said()).toEqual([]);
    stage.list([yard, stream("s2", { title: "Coop, renamed" })]);
    expect(stage.said()).toEqual(["join s2"]);
  });

  it("prefers the same title where a user comes back with two devices", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.do((watch, now) => watch.peer(now, 1, "closed"));
    stage.said();
    stage.list([stream("s2", { title: "Yard" }), stream("s3", { title: "Barn" })]);
    expect(stage.said()).toEqual([]);
    stage.list([stream("s2", { title: "Yard" }), stream("s3", { title: "Barn" }), stream("s4")]);
    expect(stage.said()).toEqual(["join s4"]);
  });

  it("says goodbye and closes everything when the viewer leaves", () => {
    const stage = new Stage().live();
    stage.offer();
    stage.said();
    stage.do((watch) => watch.leave());
    expect(stage.said()).toEqual(["leave s1", "close 2", "close 1"]);
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

/** A small generator of its own (mulberry32), so that a failing seed can be run again. */
const generator = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
};

/** A watch to which anything may happen, and the promises that it keeps all the time. */
class Chaos {
  now = 0;
  readonly open = new Set<PeerId>();
  readonly random: () => number;
  readonly watch: Watch;
  readonly seed: number;
  newest: PeerId = 0;
  wantsOffer = true;
  #decoded = 0;

  constructor(seed: number) {
    this.seed = seed;
    this.random = generator(seed);
    this.watch = new Watch(0, stream("s1"), [], this.random);
    this.check();
  }

  step(): void {
    const { watch, now } = this;
    const peer = this.#pick([...this.open, 0]);
    const streamId = this.#pick(["s1", "s2", watch.stream.streamId]);
    const lists = [[], [stream("s1")], [stream("s2")], [stream("s1", { viewers: 0 }), stream("s3")]];
    this.#pick([
      () => watch.list(now, this.#pick(lists)),
      () => watch.lineDown(now),
      () => watch.ended(now, streamId),
      () => watch.joined(now, streamId, this.random() < 0.7),
      () => watch.refused(now, { streamId, reason: "full", max: this.#pick([undefined, 1]) }),
      () => watch.offer(now, { streamId, sdp: "" }),
      () => watch.candidate(now, { streamId, candidate: null }),
      () => this.frame(peer),
      () => this.frame(peer),
      () => watch.peer(now, peer, this.#pick(["connected", "disconnected", "failed", "closed"] as const)),
      () => watch.broken(now, peer, this.#pick(["offer", "codec"] as const)),
      () => watch.retry(now),
      () => watch.tick(now),
    ])();
    this.check();
    this.checkPhase();
    this.now += Math.floor(this.random() ** 3 * 20_000);
  }

  frame(peer: PeerId): void {
    this.watch.frames(this.now, peer, ++this.#decoded);
  }

  check(): void {
    const { open, watch } = this;
    for (const effect of watch.drain()) {
      if (effect.do === "open") open.add((this.newest = effect.peer));
      if (effect.do === "join") this.wantsOffer = true;
      if (effect.do === "close") this.must(open.delete(effect.peer), "closes what is open");
      if (effect.do === "show" || effect.do === "candidate") {
        this.must(open.has(effect.peer), "shows and feeds what is open");
      }
    }
    this.must(open.size <= 2, "the shown one and the next one");
  }

  /** What holds as long as the viewer has not left. */
  checkPhase(): void {
    const { shown, phase } = this.watch;
    if (phase.name === "live") this.must(shown !== undefined, "live shows a picture");
    if (phase.name === "ended" || phase.name === "full" || phase.name === "connecting") {
      this.must(shown === undefined, "shows none without one");
    }
  }

  /** Called a hundred thousand times: `expect` would take seconds. */
  must(kept: boolean, promise: string): void {
    if (!kept) throw new Error(`seed ${this.seed}: broken promise: ${promise} (${JSON.stringify(this.watch.phase)})`);
  }

  #pick<T>(of: readonly T[]): T {
    return of[Math.floor(this.random() * of.length)] as T;
  }
}

it("holds its promises whatever comes in whatever order, and leaves nothing behind", () => {
  for (let seed = 1; seed <= 400; seed++) {
    const chaos = new Chaos(seed);
    for (let step = 0; step < 300; step++) chaos.step();
    chaos.watch.leave();
    chaos.check();
    expect(chaos.open.size, `seed ${seed}: nothing stays behind`).toBe(0);
    expect(chaos.watch.deadline(), `seed ${seed}: nothing is waited for`).toBeUndefined();
  }
});

it("is never stuck: when all is well again there is a picture, or a button that brings it", () => {
  for (let seed = 1; seed <= 400; seed++) {
    const chaos = new Chaos(seed);
    const { watch } = chaos;
    for (let step = 0; step < 100; step++) chaos.step();
    chaos.wantsOffer = false;
    watch.lineDown(chaos.now);
    watch.list(chaos.now, [stream("s9")]);
    chaos.check();
    const { phase } = watch;
    if ((phase.name === "ended" && phase.again) || (phase.name === "failed" && phase.final)) watch.retry(chaos.now);
    const end = chaos.now + 120_000;
    while (chaos.now < end) {
      watch.tick(chaos.now);
      chaos.check();
      if (chaos.wantsOffer) {
        watch.offer(chaos.now, { streamId: "s9", sdp: "" });
        chaos.wantsOffer = false;
        chaos.check();
      }
      chaos.frame(chaos.newest);
      chaos.check();
      chaos.now += 1_000;
    }
    expect(watch.phase, `seed ${seed}`).toEqual(LIVE);
  }
});
