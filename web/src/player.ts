/** Carries a watch out: its effects to the line and the connections, their reports back to it. */

import { Peer } from "./peer";
import { Meter, type Quality } from "./quality";
import type { Line } from "./line";
import type { Camera, IncomingCandidate, Offer, Refusal, Rendition, SentRendition, Stream } from "./protocol";
import { showsCamera, Watch, type Effect, type PeerId, type Phase } from "./watch";

/** Where the watch shows. */
export interface Surface {
  phase(phase: Phase, stream: Stream): void;
  picture(picture: MediaStream | undefined): void;
  quality(quality: Quality | undefined): void;
  /** Undefined while there is no picture of the camera, or nobody can say. */
  rendition(rendition: Rendition | undefined): void;
}

/** How often frames are counted while a picture is shown, and while one is waited for. */
const SAMPLE_MS = 500;
const SAMPLE_EAGERLY_MS = 100;
/** The indicator moves once a second; timers may come a little early. */
const LOOK_MS = 950;
const ACK_DEADLINE_MS = 5_000;

export class Player {
  readonly #line: Line;
  readonly #surface: Surface;
  readonly #watch: Watch;
  readonly #peers = new Map<PeerId, { peer: Peer; meter: Meter; lookedAt: number }>();
  #sampling: ReturnType<typeof setTimeout> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #told: Phase | undefined;
  #camera: Camera;
  #left = false;

  constructor(line: Line, surface: Surface, stream: Stream, streams: readonly Stream[]) {
    this.#line = line;
    this.#surface = surface;
    this.#camera = stream.camera;
    this.#watch = new Watch(now(), stream, streams.filter((other) => other.streamId !== stream.streamId));
    this.#sampleLater();
    this.#after();
  }

  get stream(): Stream {
    return this.#watch.stream;
  }

  lineDown(): void {
    this.#do((watch) => watch.lineDown(now()));
  }

  list(streams: readonly Stream[]): void {
    this.#do((watch) => watch.list(now(), streams));
  }

  offer(offer: Offer): void {
    this.#do((watch) => watch.offer(now(), offer));
  }

  candidate(candidate: IncomingCandidate): void {
    this.#do((watch) => watch.candidate(now(), candidate));
  }

  ended(streamId: string): void {
    this.#do((watch) => watch.ended(now(), streamId));
  }

  refused(refusal: Refusal): void {
    this.#do((watch) => watch.refused(now(), refusal));
  }

  sent(rendition: SentRendition): void {
    this.#do((watch) => watch.sent(rendition));
  }

  retry(): void {
    this.#do((watch) => watch.retry(now()));
  }

  leave(): void {
    this.#do((watch) => watch.leave());
    this.#left = true;
    clearTimeout(this.#sampling);
    clearTimeout(this.#timer);
    this.#surface.picture(undefined);
  }

  #do(input: (watch: Watch) => void): void {
    if (this.#left) return;
    input(this.#watch);
    this.#after();
  }

  #after(): void {
    for (const effect of this.#watch.drain()) this.#carryOut(effect);
    clearTimeout(this.#timer);
    const deadline = this.#watch.deadline();
    if (deadline !== undefined) {
      this.#timer = setTimeout(() => this.#do((watch) => watch.tick(now())), Math.max(0, deadline - now()));
    }
    const { phase, stream } = this.#watch;
    if (stream.camera !== this.#camera) this.#measureAnew(stream.camera);
    // A slate of two pictures a second is not the connection's fault, and tells nothing of it.
    if (phase !== this.#told && !showsCamera(phase)) this.#surface.quality(undefined);
    this.#told = phase;
    this.#surface.phase(phase, stream);
    this.#surface.rendition(showsCamera(phase) ? this.#watch.rendition : undefined);
  }

  /** The frames of camera and slate are not to be measured against each other. */
  #measureAnew(camera: Camera): void {
    this.#camera = camera;
    for (const held of this.#peers.values()) held.meter = new Meter();
  }

  #carryOut(effect: Effect): void {
    switch (effect.do) {
      case "join":
        return void this.#join(effect.streamId);
      case "leave":
        return this.#line.send("live:leave", { streamId: effect.streamId });
      case "open":
        return this.#open(effect.peer, effect.offer);
      case "candidate":
        return this.#peers.get(effect.peer)?.peer.addCandidate(effect.candidate);
      case "show":
        return this.#surface.picture(this.#peers.get(effect.peer)?.peer.picture);
      case "close":
        this.#peers.get(effect.peer)?.peer.close();
        this.#peers.delete(effect.peer);
    }
  }

  async #join(streamId: string): Promise<void> {
    const reply = await this.#line.ask("live:join", [{ streamId }], ACK_DEADLINE_MS);
    if (reply === false) this.#do((watch) => watch.joined(now(), streamId, false));
  }

  #open(id: PeerId, { streamId, sdp }: Offer): void {
    const newest = () => Math.max(...this.#peers.keys()) === id;
    const peer = new Peer({
      answer: (answer) =>
        this.#line.send("live:signal-answer", { streamId, answer: { type: "answer", sdp: answer } }),
      // The host knows one connection per viewer: an older one's candidates would only confuse it.
      candidate: (candidate) => newest() && this.#line.send("live:signal-ice", { streamId, candidate }),
      state: (state) => this.#do((watch) => watch.peer(now(), id, state)),
      broken: (why) => this.#do((watch) => watch.broken(now(), id, why)),
      track: () => this.#watch.shown === id && this.#surface.picture(peer.picture),
    });
    this.#peers.set(id, { peer, meter: new Meter(), lookedAt: -Infinity });
    void peer.take(sdp);
    this.#sampleLater();
  }

  #sampleLater(): void {
    clearTimeout(this.#sampling);
    if (this.#left) return;
    const waiting = [...this.#peers.keys()].some((id) => id !== this.#watch.shown);
    this.#sampling = setTimeout(() => void this.#sample(), waiting ? SAMPLE_EAGERLY_MS : SAMPLE_MS);
  }

  async #sample(): Promise<void> {
    for (const [id, held] of [...this.#peers]) {
      const sample = await held.peer.sample(now()).catch(() => undefined);
      if (!sample) continue;
      this.#do((watch) => watch.frames(now(), id, sample.framesDecoded));
      if (sample.at - held.lookedAt < LOOK_MS) continue;
      held.lookedAt = sample.at;
      const quality = held.meter.add(sample);
      if (this.#watch.shown === id && showsCamera(this.#watch.phase) && !this.#left) this.#surface.quality(quality);
    }
    this.#sampleLater();
  }
}

/** Ms by a clock that nobody sets. */
function now(): number {
  return performance.now();
}
