import type { Row } from "../lobby";
import { CAMERA_BADGE } from "../words";
import { byId, create, setText } from "./dom";

interface Line {
  readonly root: HTMLLIElement;
  readonly badge: HTMLElement;
  readonly title: HTMLElement;
  readonly viewers: HTMLElement;
  readonly duration: HTMLElement;
  readonly watch: HTMLButtonElement;
}

/** The list of who is live. Lines are kept while their stream lives, so the focus stays where it is. */
export class LobbyView {
  readonly root = byId("lobby-view", HTMLElement);
  readonly #heading = byId("lobby-title", HTMLHeadingElement);
  readonly #list = byId("streams", HTMLUListElement);
  readonly #nobody = byId("nobody", HTMLDivElement);
  readonly #waiting = byId("waiting", HTMLDivElement);
  readonly #lines = new Map<string, Line>();
  readonly #watch: (streamId: string) => void;

  constructor(watch: (streamId: string) => void) {
    this.#watch = watch;
  }

  /** `undefined`: the lobby has not said yet. */
  show(rows: readonly Row[] | undefined): void {
    this.#waiting.hidden = rows !== undefined;
    this.#nobody.hidden = rows === undefined || rows.length > 0;
    this.#list.hidden = rows === undefined || rows.length === 0;
    this.#forgetAllBut(new Set(rows?.map((row) => row.streamId)));
    rows?.forEach((row, index) => {
      const line = this.#lines.get(row.streamId) ?? this.#add(row.streamId);
      setText(line.badge, CAMERA_BADGE[row.camera]);
      line.badge.classList.toggle("live", row.camera === "live");
      setText(line.title, row.title);
      setText(line.viewers, row.viewers);
      setText(line.duration, row.duration);
      line.duration.hidden = row.duration === "";
      line.watch.setAttribute("aria-label", row.watchLabel);
      // Moving an element takes the focus from it: only where it is in the wrong place.
      if (this.#list.children[index] !== line.root) this.#list.insertBefore(line.root, this.#list.children[index] ?? null);
    });
  }

  /** To the stream's button, or to the heading where it is gone. */
  focus(streamId: string | undefined): void {
    const line = streamId === undefined ? undefined : this.#lines.get(streamId);
    (line?.watch ?? this.#heading).focus();
  }

  #add(streamId: string): Line {
    const root = create("li", "row");
    const title = create("h2", "title");
    title.dir = "auto";
    const meta = create("p", "meta");
    const viewers = create("span");
    const duration = create("span");
    duration.title = "Live for";
    meta.append(viewers, duration);
    const text = create("div");
    text.append(title, meta);
    const watch = create("button", "primary", "Watch");
    watch.type = "button";
    watch.addEventListener("click", () => this.#watch(streamId));
    const badge = create("span", "badge");
    root.append(badge, text, watch);
    const line = { root, badge, title, viewers, duration, watch };
    this.#lines.set(streamId, line);
    return line;
  }

  #forgetAllBut(kept: Set<string>): void {
    for (const [streamId, line] of this.#lines) {
      if (kept.has(streamId)) continue;
      const hadFocus = line.root.contains(document.activeElement);
      line.root.remove();
      this.#lines.delete(streamId);
      if (hadFocus) this.#heading.focus();
    }
  }
}
