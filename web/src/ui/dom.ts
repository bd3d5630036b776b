/** The page's element of that id; index.html holds every one of them. */
export function byId<E extends Element>(id: string, kind: new () => E): E {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`index.html has no ${kind.name} with the id ${id}`);
  return element;
}

/** A new element with a class and a text; the text is never markup. */
export function create<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = "",
  text = "",
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  setText(element, text);
  return element;
}

/** Sets the text where it differs, so that selections and screen readers are left in peace. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Switches a button's symbol. */
export function setIcon(button: HTMLElement, symbol: string): void {
  button.querySelector("use")?.setAttribute("href", `#${symbol}`);
}

/** Names a button for every way of reading it. */
export function setName(button: HTMLElement, name: string, key?: string): void {
  if (button.getAttribute("aria-label") !== name) button.setAttribute("aria-label", name);
  button.title = key ? `${name} (${key})` : name;
}
