/** One RTCPeerConnection that answers one offer. Translates and reports; decides nothing. */

import { pickSample } from "./stats";
import type { Sample } from "./quality";
import type { PeerState } from "./watch";

export interface PeerEvents {
  /** The answer; no candidate is reported before it. */
  answer(sdp: string): void;
  candidate(candidate: RTCIceCandidateInit): void;
  state(state: PeerState): void;
  /** `codec`: none of the video formats offered can be decoded here. */
  broken(why: "offer" | "codec"): void;
  /** A track came: `picture` has changed. */
  track(): void;
}

/** Receivers as browsers have them beyond the DOM library's types: both ask for the shortest buffer. */
interface LowLatency {
  jitterBufferTarget?: number | null;
  playoutDelayHint?: number | null;
}

export class Peer {
  /** What comes in, video and sound in one whatever the offer's msid says. */
  readonly picture = new MediaStream();
  readonly #connection: RTCPeerConnection;
  readonly #events: PeerEvents;
  /** Remote candidates that came before the offer was in; undefined afterwards. */
  #early: RTCIceCandidateInit[] | undefined = [];
  /** Local candidates from before the answer was sent; undefined afterwards. */
  #unsent: RTCIceCandidateInit[] | undefined = [];
  #closed = false;

  constructor(events: PeerEvents) {
    this.#events = events;
    this.#connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.#connection.addEventListener("icecandidate", (event) => this.#localCandidate(event.candidate));
    this.#connection.addEventListener("track", (event) => this.#track(event));
    this.#connection.addEventListener("connectionstatechange", () => {
      const state = this.#connection.connectionState;
      if (state === "connected" || state === "disconnected" || state === "failed") this.#report(state);
    });
  }

  async take(offerSdp: string): Promise<void> {
    const connection = this.#connection;
    try {
      await connection.setRemoteDescription({ type: "offer", sdp: offerSdp });
      for (const candidate of this.#early ?? []) this.#addCandidate(candidate);
      this.#early = undefined;
      const answer = await connection.createAnswer();
      if (rejectsVideo(answer.sdp ?? "")) return this.#broken("codec");
      await connection.setLocalDescription(answer);
    } catch {
      return this.#broken("offer");
    }
    if (this.#closed) return;
    this.#watchDtls();
    this.#events.answer(connection.localDescription?.sdp ?? "");
    for (const candidate of this.#unsent ?? []) this.#events.candidate(candidate);
    this.#unsent = undefined;
  }

  addCandidate(candidate: RTCIceCandidateInit | null): void {
    // An end of candidates says nothing that the connection's own clock does not.
    if (candidate === null) return;
    if (this.#early) this.#early.push(candidate);
    else this.#addCandidate(candidate);
  }

  async sample(now: number): Promise<Sample | undefined> {
    if (this.#closed) return undefined;
    const report = await this.#connection.getStats();
    return this.#closed ? undefined : pickSample(report, now);
  }

  close(): void {
    this.#closed = true;
    this.#connection.close();
  }

  #addCandidate(candidate: RTCIceCandidateInit): void {
    // One that belongs to an earlier connection, or that this browser cannot read: the others may do.
    this.#connection.addIceCandidate(candidate).catch(() => undefined);
  }

  #localCandidate(candidate: RTCIceCandidate | null): void {
    if (this.#closed || !candidate || candidate.candidate === "") return;
    const init = candidate.toJSON();
    if (this.#unsent) this.#unsent.push(init);
    else this.#events.candidate(init);
  }

  #track(event: RTCTrackEvent): void {
    const receiver: RTCRtpReceiver & LowLatency = event.receiver;
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    if ("playoutDelayHint" in receiver) receiver.playoutDelayHint = 0;
    this.picture.addTrack(event.track);
    if (!this.#closed) this.#events.track();
  }

  /** The host's goodbye (DTLS close_notify) shows here many seconds before ICE notices. */
  #watchDtls(): void {
    const transport = this.#connection.getReceivers()[0]?.transport;
    transport?.addEventListener("statechange", () => {
      if (transport.state === "closed") this.#report("closed");
    });
  }

  #report(state: PeerState): void {
    if (!this.#closed) this.#events.state(state);
  }

  #broken(why: "offer" | "codec"): void {
    if (!this.#closed) this.#events.broken(why);
  }
}

/** A media line with port 0 is a rejected one (RFC 3264 §6): no video format in common. */
function rejectsVideo(answerSdp: string): boolean {
  return /^m=video 0 /m.test(answerSdp);
}
