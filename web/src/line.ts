/**
 * The line to the lobby: one socket for everything, dialled again whenever it is gone.
 *
 * The dialling is ours and not socket.io-client's: each dial needs a fresh token first, and that
 * library gives up for good where the server says goodbye or refuses (`41`, `44`).
 */

import { backoff, type Random } from "./backoff";
import type { TokenReply } from "./token";

/** What is used of a socket.io-client socket. */
export interface SocketLike {
  auth: unknown;
  readonly connected: boolean;
  connect(): unknown;
  disconnect(): unknown;
  // The library hands listeners whatever the event carries.
  on(event: string, listener: (...args: any[]) => void): unknown;
  emit(event: string, ...args: unknown[]): unknown;
  timeout(ms: number): { emit(event: string, ...args: unknown[]): unknown };
}

export type LineState =
  /** No watch key: nothing to dial with. */
  | { readonly name: "idle" }
  | { readonly name: "dialling" }
  | { readonly name: "up" }
  | { readonly name: "down" }
  /** The key or the token made of it is refused; another key is needed. */
  | { readonly name: "denied" };

const DIAL_DEADLINE_MS = 10_000;
const RETRY_FIRST_MS = 1_000;
const RETRY_CAP_MS = 10_000;
/** A fresh token refused this often in a row is no race with its expiry. */
const REFUSALS = 2;

export class Line {
  #state: LineState = { name: "idle" };
  #key: string | undefined;
  #failures = 0;
  #refusals = 0;
  /** Numbers the dials, so that what a given-up one still says is known as old. */
  #dial = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #socket: SocketLike;
  readonly #token: (key: string) => Promise<TokenReply>;
  readonly #changed: (state: LineState) => void;
  readonly #random: Random;

  constructor(
    socket: SocketLike,
    token: (key: string) => Promise<TokenReply>,
    changed: (state: LineState) => void,
    random: Random = Math.random,
  ) {
    this.#socket = socket;
    this.#token = token;
    this.#changed = changed;
    this.#random = random;
    socket.on("connect", () => this.#connected());
    socket.on("connect_error", (error: Error) => this.#refused(error));
    socket.on("disconnect", () => this.#state.name === "up" && this.#down(undefined));
  }

  get state(): LineState {
    return this.#state;
  }

  /** Dials with this key from now on; `undefined` hangs up. */
  use(key: string | undefined): void {
    this.#key = key;
    this.#failures = 0;
    this.#refusals = 0;
    this.#hangUp();
    if (key === undefined) this.#become({ name: "idle" });
    else void this.#dialNow();
  }

  /** Something changed for the better (network back, page shown again, a person asks): do not wait on. */
  poke(): void {
    if (this.#state.name === "down" || this.#state.name === "denied") void this.#dialNow();
  }

  /** Sends where there is a line; what is said without one is out of date when it comes back. */
  send(event: string, payload: unknown): void {
    if (this.#state.name === "up") this.#socket.emit(event, payload);
  }

  /** Sends and waits for the acknowledgement; `undefined` where none came within `deadlineMs`. */
  ask(event: string, payload: unknown[], deadlineMs: number): Promise<unknown> {
    if (this.#state.name !== "up") return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#socket
        .timeout(deadlineMs)
        .emit(event, ...payload, (error: unknown, reply: unknown) => resolve(error ? undefined : reply));
    });
  }

  async #dialNow(): Promise<void> {
    const key = this.#key;
    if (key === undefined) return;
    this.#hangUp();
    const dial = this.#dial;
    this.#become({ name: "dialling" });
    const reply = await this.#token(key);
    if (dial !== this.#dial) return;
    if (reply.kind === "denied") return this.#become({ name: "denied" });
    if (reply.kind === "later") return this.#down(reply.afterMs);
    this.#socket.auth = { token: reply.token };
    this.#timer = setTimeout(() => this.#down(undefined), DIAL_DEADLINE_MS);
    this.#socket.connect();
  }

  #connected(): void {
    if (this.#state.name !== "dialling") return;
    clearTimeout(this.#timer);
    this.#failures = 0;
    this.#refusals = 0;
    this.#become({ name: "up" });
  }

  #refused(error: Error): void {
    if (this.#state.name !== "dialling") return;
    if (error.message !== "Authentication error") return this.#down(undefined);
    this.#refusals += 1;
    if (this.#refusals < REFUSALS) return this.#down(undefined);
    this.#hangUp();
    this.#become({ name: "denied" });
  }

  #down(afterMs: number | undefined): void {
    this.#hangUp();
    this.#failures += 1;
    this.#become({ name: "down" });
    const wait = backoff(this.#failures, RETRY_FIRST_MS, RETRY_CAP_MS, this.#random);
    this.#timer = setTimeout(() => void this.#dialNow(), Math.max(wait, afterMs ?? 0));
  }

  #hangUp(): void {
    this.#dial += 1;
    clearTimeout(this.#timer);
    // Its `disconnect` event must not count as a loss.
    if (this.#state.name === "up") this.#state = { name: "down" };
    this.#socket.disconnect();
  }

  #become(state: LineState): void {
    if (state.name === this.#state.name && state.name !== "down") return;
    this.#state = state;
    this.#changed(state);
  }
}
