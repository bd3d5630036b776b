/**
 * The watch key: the secret half of the device's watch link `http://HOST:PORT/#<key>`. It travels in
 * the fragment, which browsers send to nobody.
 */

/** What a key may look like: URL-safe text, long enough not to be a stray anchor. */
const KEY = /^[A-Za-z0-9_~.-]{8,256}$/;

export type Pasted =
  | { readonly kind: "key"; readonly key: string }
  /** A link, but to another device. */
  | { readonly kind: "elsewhere"; readonly url: string }
  | { readonly kind: "none" };

/** The key in an address's fragment (with or without `#`). */
export function keyFromFragment(fragment: string): string | undefined {
  const bare = fragment.replace(/^#/, "");
  return KEY.test(bare) ? bare : undefined;
}

/** Understands what a person pastes: the whole link or the key alone. `origin` is this page's own. */
export function understandPasted(pasted: string, origin: string): Pasted {
  const given = pasted.trim();
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(given)) {
    const key = keyFromFragment(given);
    return key ? { kind: "key", key } : { kind: "none" };
  }
  if (!URL.canParse(given)) return { kind: "none" };
  const url = new URL(given);
  const key = keyFromFragment(url.hash);
  if (!key || !["http:", "https:"].includes(url.protocol)) return { kind: "none" };
  return url.origin === origin ? { kind: "key", key } : { kind: "elsewhere", url: url.href };
}

/** Where the key is kept between visits; storage that is switched off is only memory that forgets. */
export class KeyStore {
  static readonly #NAME = "perch.watch";
  #memory: string | undefined;
  readonly #storage: Storage | undefined;

  constructor(storage: () => Storage) {
    try {
      this.#storage = storage();
    } catch {
      this.#storage = undefined;
    }
  }

  get(): string | undefined {
    try {
      const kept = this.#storage?.getItem(KeyStore.#NAME);
      if (kept) return keyFromFragment(kept);
    } catch {
      // Reading may be forbidden: memory has it.
    }
    return this.#memory;
  }

  set(key: string | undefined): void {
    this.#memory = key;
    try {
      if (key === undefined) this.#storage?.removeItem(KeyStore.#NAME);
      else this.#storage?.setItem(KeyStore.#NAME, key);
    } catch {
      // Full or forbidden: the key lives as long as the page.
    }
  }
}
