import { byId, setIcon, setName } from "./dom";

/**
 * The picture's sound. Browsers play unasked only what is silent, so each visit starts muted, with a
 * visible hint where there is something to hear.
 */
export class Sound {
  readonly #video: HTMLVideoElement;
  readonly #mute = byId("mute", HTMLButtonElement);
  readonly #volume = byId("volume", HTMLInputElement);
  readonly #hint = byId("sound-hint", HTMLButtonElement);
  #heard = false;

  constructor(video: HTMLVideoElement) {
    this.#video = video;
    this.#mute.addEventListener("click", () => this.toggle());
    this.#hint.addEventListener("click", () => {
      this.toggle();
      this.#mute.focus();
    });
    this.#volume.addEventListener("input", () => {
      video.volume = Number(this.#volume.value) / 100;
      video.muted = video.volume === 0;
    });
    video.addEventListener("volumechange", () => this.#show());
    this.#show();
  }

  /** `picture` is what is played now: does it have sound? */
  picture(picture: MediaStream | undefined): void {
    const audible = (picture?.getAudioTracks().length ?? 0) > 0;
    this.#mute.hidden = !audible;
    this.#volume.hidden = !audible;
    this.#hint.hidden = !audible || this.#heard || !this.#video.muted;
  }

  play(): void {
    this.#video.play().catch((error: unknown) => {
      // Sound that the browser does not allow (any more) must not cost the picture.
      if (!(error instanceof DOMException) || error.name !== "NotAllowedError" || this.#video.muted) return;
      this.#video.muted = true;
      this.#video.play().catch(() => undefined);
    });
  }

  toggle(): void {
    if (this.#mute.hidden) return;
    this.#video.muted = !this.#video.muted;
    if (!this.#video.muted && this.#video.volume === 0) this.#video.volume = 1;
  }

  /** The hint is for each watch anew, until it was followed once. */
  reset(): void {
    this.#hint.hidden = true;
  }

  #show(): void {
    const { muted, volume } = this.#video;
    if (!muted) {
      this.#heard = true;
      this.#hint.hidden = true;
    }
    setIcon(this.#mute, muted ? "i-mute" : "i-sound");
    setName(this.#mute, muted ? "Unmute" : "Mute", "m");
    this.#volume.value = String(muted ? 0 : Math.round(volume * 100));
  }
}
