import { understandPasted } from "../watchkey";
import { byId, setText } from "./dom";

const TEXT = {
  missing: "This page shows who is live only to those who have the device's watch link.",
  denied: "This watch link is wrong, or it has been renewed. Ask for the present one.",
} as const;

/** Asks for the watch link where there is none, or none that holds. */
export class KeyView {
  readonly root = byId("key-view", HTMLElement);
  readonly #heading = byId("key-title", HTMLHeadingElement);
  readonly #text = byId("key-text", HTMLParagraphElement);
  readonly #error = byId("key-error", HTMLParagraphElement);
  readonly #field = byId("key-field", HTMLInputElement);

  #why: "missing" | "denied" | undefined;

  constructor(use: (key: string) => void) {
    byId("key-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      const pasted = understandPasted(this.#field.value, location.origin);
      if (pasted.kind === "key") {
        this.#field.value = "";
        return use(pasted.key);
      }
      setText(
        this.#error,
        pasted.kind === "elsewhere"
          ? `This link belongs to another device. Open it in the address bar: ${pasted.url}`
          : "This is no watch link. It looks like http://…/#key.",
      );
      this.#field.setAttribute("aria-invalid", "true");
      this.#field.focus();
    });
  }

  show(why: "missing" | "denied"): void {
    if (why === this.#why && !this.root.hidden) return;
    this.#why = why;
    setText(this.#heading, why === "missing" ? "Open with the watch link" : "The lobby does not let this page in");
    setText(this.#text, TEXT.missing);
    setText(this.#error, why === "denied" ? TEXT.denied : "");
    this.#field.removeAttribute("aria-invalid");
  }

  focus(): void {
    this.#field.focus();
  }
}
