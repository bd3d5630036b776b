/** Wires the page: the key, the line, the list and the player. */

import { Line, type LineState, type SocketLike } from "./line";
import { onlyStream, rows } from "./lobby";
import { Player } from "./player";
import {
  parseCandidate,
  parseEnded,
  parseOffer,
  parseRefusal,
  parseRendition,
  parseStreams,
  type Stream,
} from "./protocol";
import { fetchToken } from "./token";
import { KeyStore, keyFromFragment } from "./watchkey";
import { byId, setText } from "./ui/dom";
import { KeyView } from "./ui/key-view";
import { LobbyView } from "./ui/lobby-view";
import { PlayerView } from "./ui/player-view";

const LIST_DEADLINE_MS = 5_000;
/** Whom this tab was watching, so that a reload goes on with it. */
const WATCHING = "perch.watching";

const LINE_TEXT: Record<LineState["name"], string> = {
  idle: "",
  dialling: "Connecting to the lobby …",
  up: "Lobby connected",
  down: "No connection to the lobby",
  denied: "Not let in",
};

export class App {
  readonly #keys = new KeyStore(() => localStorage);
  readonly #keyView = new KeyView((key) => this.#useKey(key));
  readonly #lobbyView = new LobbyView((streamId) => this.#choose(streamId));
  readonly #playerView = new PlayerView({ back: () => this.#back(), retry: () => this.#retry() });
  readonly #lineStatus = byId("line", HTMLSpanElement);
  readonly #lineText = byId("line-text", HTMLSpanElement);
  readonly #lineRetry = byId("line-retry", HTMLButtonElement);
  readonly #forget = byId("forget", HTMLButtonElement);
  readonly #line: Line;
  #streams: Stream[] | undefined;
  #player: Player | undefined;
  /** Added to this machine's clock it gives the lobby's, in ms. */
  #clockOffset = 0;
  /** Nobody has chosen yet: the only stream there is may be watched unasked. */
  #unasked = false;
  /** The host that this tab watched before it was reloaded. */
  #resume: string | undefined = session.get();

  constructor(socket: SocketLike) {
    this.#line = new Line(
      socket,
      (key) => fetchToken(key, (lobbyMs) => (this.#clockOffset = lobbyMs - Date.now())),
      (state) => this.#lineChanged(state),
    );
    this.#hear(socket);
    this.#lineRetry.addEventListener("click", () => this.#line.poke());
    this.#forget.addEventListener("click", () => this.#forgetKey());
    window.addEventListener("hashchange", () => this.#takeKeyFromAddress());
    window.addEventListener("online", () => this.#line.poke());
    window.addEventListener("popstate", () => this.#close());
    document.addEventListener("visibilitychange", () => document.hidden || this.#line.poke());
    setInterval(() => this.#showTimes(), 1_000);
  }

  start(): void {
    if (!this.#takeKeyFromAddress()) this.#useStored(this.#keys.get());
  }

  #hear(socket: SocketLike): void {
    socket.on("live:update", (list: unknown) => this.#listed(parseStreams(list)));
    socket.on("live:signal-offer", (said: unknown) => given(parseOffer(said), (offer) => this.#player?.offer(offer)));
    socket.on("live:signal-ice", (said: unknown) =>
      given(parseCandidate(said), (candidate) => this.#player?.candidate(candidate)),
    );
    socket.on("live:ended", (said: unknown) => given(parseEnded(said), (streamId) => this.#player?.ended(streamId)));
    socket.on("live:refused", (said: unknown) => given(parseRefusal(said), (refusal) => this.#player?.refused(refusal)));
    socket.on("live:rendition", (said: unknown) => given(parseRendition(said), (sent) => this.#player?.sent(sent)));
  }

  // ── The key ─────────────────────────────────────────────────────────────────────────────────

  /** The key leaves the address bar at once: it is a secret, and addresses are read and shared. */
  #takeKeyFromAddress(): boolean {
    const key = keyFromFragment(location.hash);
    if (key === undefined) return false;
    history.replaceState(null, "", location.pathname + location.search);
    this.#useKey(key);
    return true;
  }

  #useKey(key: string): void {
    this.#keys.set(key);
    this.#unasked = true;
    this.#useStored(key);
  }

  #useStored(key: string | undefined): void {
    this.#close();
    this.#streams = undefined;
    this.#forget.hidden = key === undefined;
    this.#line.use(key);
    this.#showView();
  }

  #forgetKey(): void {
    this.#keys.set(undefined);
    this.#useStored(undefined);
    this.#keyView.focus();
  }

  // ── The line and the list ───────────────────────────────────────────────────────────────────

  #lineChanged(state: LineState): void {
    this.#lineStatus.dataset.line = state.name;
    setText(this.#lineText, LINE_TEXT[state.name]);
    this.#lineRetry.hidden = state.name !== "down";
    if (state.name === "up") void this.#askForList();
    else if (state.name === "down" || state.name === "denied") this.#player?.lineDown();
    if (state.name === "denied") {
      this.#close();
      this.#streams = undefined;
    }
    this.#showView();
  }

  async #askForList(): Promise<void> {
    while (this.#line.state.name === "up") {
      const list = await this.#line.ask("live:list", [], LIST_DEADLINE_MS);
      if (Array.isArray(list)) return this.#listed(parseStreams(list));
    }
  }

  #listed(streams: Stream[]): void {
    this.#streams = streams;
    this.#player?.list(streams);
    if (!this.#player) this.#watchUnasked(streams);
    this.#showTimes();
  }

  #watchUnasked(streams: readonly Stream[]): void {
    const resumed = this.#resume && streams.find((stream) => stream.hostUserId === this.#resume);
    const stream = resumed || (this.#unasked ? onlyStream(streams) : undefined);
    if (stream) this.#watch(stream);
    else if (streams.length > 1) this.#unasked = false;
  }

  // ── Watching ────────────────────────────────────────────────────────────────────────────────

  #choose(streamId: string): void {
    const stream = this.#streams?.find((listed) => listed.streamId === streamId);
    if (!stream) return;
    // So that a phone's Back goes back to the list.
    history.pushState({ watching: true }, "");
    this.#watch(stream);
    this.#playerView.focus();
  }

  #watch(stream: Stream): void {
    this.#unasked = false;
    this.#resume = undefined;
    session.set(stream.hostUserId);
    this.#playerView.root.hidden = false;
    this.#player = new Player(this.#line, this.#playerView, stream, this.#streams ?? []);
    this.#showView();
  }

  #retry(): void {
    this.#line.poke();
    this.#player?.retry();
  }

  #back(): void {
    if (isWatchEntry(history.state)) history.back();
    else this.#close();
  }

  #close(): void {
    const player = this.#player;
    if (!player) return;
    this.#player = undefined;
    this.#unasked = false;
    session.set(undefined);
    player.leave();
    this.#playerView.reset();
    this.#showView();
    this.#showTimes();
    this.#lobbyView.focus(player.stream.streamId);
  }

  // ── What is on the screen ───────────────────────────────────────────────────────────────────

  #showView(): void {
    const { name } = this.#line.state;
    const asks = name === "idle" || name === "denied";
    if (asks) this.#keyView.show(name === "idle" ? "missing" : "denied");
    this.#keyView.root.hidden = !asks;
    this.#playerView.root.hidden = asks || !this.#player;
    this.#lobbyView.root.hidden = asks || this.#player !== undefined;
    if (!this.#player) document.title = "Perch";
    this.#showTimes();
  }

  #showTimes(): void {
    const now = Date.now() + this.#clockOffset;
    if (this.#player) {
      const { stream } = this.#player;
      const listed = this.#streams?.some((other) => other.streamId === stream.streamId) ?? false;
      this.#playerView.facts(stream, now, listed && this.#line.state.name === "up");
    } else {
      this.#lobbyView.show(this.#streams && rows(this.#streams, now));
    }
  }
}

function given<T>(value: T | undefined, then: (value: T) => void): void {
  if (value !== undefined) then(value);
}

function isWatchEntry(state: unknown): boolean {
  return typeof state === "object" && state !== null && "watching" in state;
}

/** The tab's memory of whom it watches; nothing is lost where storage is switched off. */
const session = {
  get(): string | undefined {
    try {
      return sessionStorage.getItem(WATCHING) ?? undefined;
    } catch {
      return undefined;
    }
  },
  set(hostUserId: string | undefined): void {
    try {
      if (hostUserId) sessionStorage.setItem(WATCHING, hostUserId);
      else sessionStorage.removeItem(WATCHING);
    } catch {
      // A reload then shows the list.
    }
  },
};
