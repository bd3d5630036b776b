import { byId, setIcon, setName } from "./dom";

/** Safari on iPhones shows nothing but a video in full screen, by its own call. */
interface AppleVideo {
  webkitEnterFullscreen?: () => void;
}

/** After this long without a move the bar steps aside in full screen, in ms. */
const IDLE_MS = 3_000;

/** Full screen and picture-in-picture. */
export class Screen {
  readonly #video: HTMLVideoElement & AppleVideo;
  readonly #stage = byId("stage", HTMLDivElement);
  readonly #full = byId("full", HTMLButtonElement);
  readonly #pip = byId("pip", HTMLButtonElement);
  #idle: ReturnType<typeof setTimeout> | undefined;

  constructor(video: HTMLVideoElement) {
    this.#video = video;
    this.#full.hidden = !document.fullscreenEnabled && !this.#video.webkitEnterFullscreen;
    this.#pip.hidden = !document.pictureInPictureEnabled;
    this.#full.addEventListener("click", () => void this.toggle());
    this.#pip.addEventListener("click", () => void this.#togglePip());
    video.addEventListener("dblclick", () => void this.toggle());
    document.addEventListener("fullscreenchange", () => this.#show());
    for (const move of ["pointermove", "pointerdown", "keydown"]) {
      this.#stage.addEventListener(move, () => this.#stir());
    }
    this.#show();
  }

  /** Refusals (no gesture, no permission) leave things as they are. */
  async toggle(): Promise<void> {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (document.fullscreenEnabled) await this.#stage.requestFullscreen();
      else this.#video.webkitEnterFullscreen?.();
    } catch {
      this.#show();
    }
  }

  leave(): void {
    if (document.fullscreenElement) void document.exitFullscreen().catch(() => undefined);
    if (document.pictureInPictureElement) void document.exitPictureInPicture().catch(() => undefined);
  }

  async #togglePip(): Promise<void> {
    try {
      if (document.pictureInPictureElement) await document.exitPictureInPicture();
      else await this.#video.requestPictureInPicture();
    } catch {
      // Before the first frame there is no picture to take out.
    }
  }

  #show(): void {
    const full = document.fullscreenElement !== null;
    setIcon(this.#full, full ? "i-unfull" : "i-full");
    setName(this.#full, full ? "Leave full screen" : "Full screen", "f");
    this.#stir();
  }

  #stir(): void {
    clearTimeout(this.#idle);
    this.#stage.classList.remove("idle");
    if (document.fullscreenElement) this.#idle = setTimeout(() => this.#stage.classList.add("idle"), IDLE_MS);
  }
}
