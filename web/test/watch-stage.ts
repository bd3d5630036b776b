/** What the tests of `Watch` share. */

import type { Stream } from "../src/protocol";
import { Watch, type Effect, type PeerId, type Why } from "../src/watch";

export const stream = (streamId: string, more: Partial<Stream> = {}): Stream => ({
  streamId,
  title: "Coop",
  hostUserId: "coop",
  startedAt: 0,
  viewers: 1,
  camera: "live",
  ...more,
});

/** A watch in virtual time: every step carries its effects out into a log. */
export class Stage {
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

export const candidate = (text: string) => ({ streamId: "s1", candidate: { candidate: text } });
export const reconnecting = (why: Why) => ({ name: "reconnecting", why });
export const LIVE = { name: "live", lobbyLost: false, camera: "live" };
