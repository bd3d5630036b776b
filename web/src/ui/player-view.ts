import type { Surface } from "../player";
import { durationText, viewersText } from "../lobby";
import type { Rendition, Stream } from "../protocol";
import { BARS, details, levelText, measuredText, type Quality } from "../quality";
import { showsCamera, type Phase } from "../watch";
import { announcement, pictureText, smallerText, words } from "../words";
import { byId, create, setText } from "./dom";
import { Sound } from "./sound";
import { Screen } from "./screen";

/** Characters that find room in a column of the panel; what is longer gets a line of its own. */
const LONGEST_FIGURE = 12;

export interface PlayerActions {
  back(): void;
  retry(): void;
}

/** The picture, what is said about it, and its controls. */
export class PlayerView implements Surface {
  readonly root = byId("player-view", HTMLElement);
  readonly #title = byId("player-title", HTMLHeadingElement);
  readonly #badge = byId("badge", HTMLSpanElement);
  readonly #video = byId("video", HTMLVideoElement);
  readonly #overlay = byId("overlay", HTMLDivElement);
  readonly #spinner = byId("spinner", HTMLDivElement);
  readonly #state = byId("state", HTMLParagraphElement);
  readonly #reason = byId("reason", HTMLParagraphElement);
  readonly #again = byId("again", HTMLButtonElement);
  readonly #note = byId("note", HTMLParagraphElement);
  readonly #facts = byId("facts", HTMLSpanElement);
  readonly #quality = byId("quality", HTMLButtonElement);
  readonly #bars = byId("bars", HTMLSpanElement);
  readonly #level = byId("quality-level", HTMLSpanElement);
  readonly #measured = byId("measured", HTMLSpanElement);
  readonly #smaller = byId("smaller", HTMLSpanElement);
  readonly #smallerWhy = byId("smaller-why", HTMLSpanElement);
  readonly #details = byId("details", HTMLDListElement);
  readonly #announcer = byId("announcer", HTMLDivElement);
  readonly #sound = new Sound(this.#video);
  readonly #screen = new Screen(this.#video);
  #announced = "";
  #measurement: Quality | undefined;
  #rendition: Rendition | undefined;

  constructor(actions: PlayerActions) {
    byId("back", HTMLButtonElement).addEventListener("click", actions.back);
    byId("to-list", HTMLButtonElement).addEventListener("click", actions.back);
    this.#again.addEventListener("click", actions.retry);
    this.#quality.addEventListener("click", () => {
      this.#details.hidden = !this.#details.hidden;
      this.#quality.setAttribute("aria-expanded", String(!this.#details.hidden));
    });
    document.addEventListener("keydown", (event) => this.#key(event, actions));
    this.#video.addEventListener("resize", () => this.#takeShape());
  }

  focus(): void {
    this.#title.focus({ preventScroll: true });
  }

  phase(phase: Phase, stream: Stream): void {
    const said = words(phase);
    const live = phase.name === "live";
    this.root.dataset.phase = phase.name;
    setText(this.#title, stream.title);
    setText(this.#badge, said.badge);
    this.#badge.classList.toggle("live", showsCamera(phase));
    setText(this.#state, said.state);
    setText(this.#reason, said.reason);
    setText(this.#note, said.note);
    this.#note.hidden = said.note === "";
    this.#spinner.hidden = !said.busy;
    this.#again.hidden = said.button === undefined;
    if (said.button !== undefined) setText(this.#again, said.button);
    this.#coverPicture(!live);
    document.title = `${showsCamera(phase) ? "● " : ""}${stream.title} · Perch`;
    this.#announce(announcement(phase, stream.title));
  }

  /** `now` in ms by the lobby's clock; `listed`: the lobby lists the stream at this moment. */
  facts(stream: Stream, now: number, listed: boolean): void {
    const duration = stream.startedAt === undefined ? "" : durationText(now - stream.startedAt);
    const parts = listed ? [viewersText(stream.viewers), duration] : [];
    setText(this.#facts, parts.filter((part) => part !== "").join(" · "));
  }

  picture(picture: MediaStream | undefined): void {
    this.#sound.picture(picture);
    if (this.#video.srcObject === (picture ?? null)) return;
    this.#video.srcObject = picture ?? null;
    if (picture) this.#sound.play();
    else this.#screen.leave();
  }

  quality(quality: Quality | undefined): void {
    this.#bars.dataset.bars = String(quality ? BARS[quality.level] : 0);
    setText(this.#level, quality ? levelText(quality) : "–");
    setText(this.#measured, quality && quality.level !== "none" ? measuredText(quality) : "");
    this.#measurement = quality;
    this.#showDetails();
  }

  /** Not announced: it may come and go by itself, and the indicator that it stands in says it when it is read. */
  rendition(rendition: Rendition | undefined): void {
    if (rendition === this.#rendition) return;
    this.#rendition = rendition;
    const why = smallerText(rendition);
    this.#smaller.hidden = why === undefined;
    this.#smaller.title = why ?? "";
    setText(this.#smallerWhy, why ?? "");
    this.#showDetails();
  }

  #showDetails(): void {
    const quality = this.#measurement;
    if (!quality) return this.#details.replaceChildren();
    const pairs = [["Picture", pictureText(this.#rendition)] as const, ...details(quality)];
    if (this.#details.childElementCount !== pairs.length) {
      this.#details.replaceChildren(
        ...pairs.map(([name]) => {
          const pair = create("div");
          pair.append(create("dt", "", name), create("dd"));
          return pair;
        }),
      );
    }
    pairs.forEach(([, value], index) => {
      const pair = this.#details.children[index];
      const shown = pair?.querySelector("dd");
      if (shown) setText(shown, value);
      pair?.classList.toggle("sentence", value.length > LONGEST_FIGURE);
    });
  }

  /** The stage takes the picture's own shape: cameras are not all 16:9, and some stand upright. */
  #takeShape(): void {
    const { videoWidth, videoHeight } = this.#video;
    if (videoWidth > 0 && videoHeight > 0) this.root.style.setProperty("--aspect", String(videoWidth / videoHeight));
  }

  #coverPicture(cover: boolean): void {
    if (this.#overlay.hidden !== cover) return;
    // A button that vanishes would drop the focus to nowhere.
    if (!cover && this.#overlay.contains(document.activeElement)) this.focus();
    this.#overlay.hidden = !cover;
  }

  #announce(text: string): void {
    if (text === this.#announced || this.root.hidden) return;
    this.#announced = text;
    setText(this.#announcer, text);
  }

  /** Forgets what was said last: the next watch begins anew. */
  reset(): void {
    this.#announced = "";
    setText(this.#announcer, "");
    this.quality(undefined);
    this.rendition(undefined);
    this.#sound.reset();
  }

  #key(event: KeyboardEvent, actions: PlayerActions): void {
    if (this.root.hidden || event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.repeat) return;
    switch (event.key) {
      case "m":
      case "M":
        return this.#sound.toggle();
      case "f":
      case "F":
        return void this.#screen.toggle();
      case "Escape":
        // In full screen the browser takes Escape for leaving it.
        if (!document.fullscreenElement) actions.back();
    }
  }
}
