import { describe, expect, it } from "vitest";
import { KeyStore, keyFromFragment, understandPasted } from "../src/watchkey";

const KEY = "dGhlIGtleSBvZiBhIGRldmljZQ";
const ORIGIN = "http://192.0.2.7:8080";

describe("the key", () => {
  it("is read from the fragment", () => {
    expect(keyFromFragment(`#${KEY}`)).toBe(KEY);
    expect(keyFromFragment(KEY)).toBe(KEY);
  });

  it.each(["", "#", "#top", "#a b c d e f", "#<script>alert(1)</script>", `#${"x".repeat(257)}`])(
    "is not found in %j",
    (fragment) => {
      expect(keyFromFragment(fragment)).toBeUndefined();
    },
  );
});

describe("what a person pastes", () => {
  it.each([KEY, `#${KEY}`, `  ${KEY}\n`, `${ORIGIN}/#${KEY}`, `${ORIGIN.toUpperCase()}/#${KEY}`, `${ORIGIN}/x?y=1#${KEY}`])(
    "is this device's key: %j",
    (pasted) => {
      expect(understandPasted(pasted, ORIGIN)).toEqual({ kind: "key", key: KEY });
    },
  );

  it("may belong to another device", () => {
    const url = `https://192.0.2.8/#${KEY}`;
    expect(understandPasted(url, ORIGIN)).toEqual({ kind: "elsewhere", url });
  });

  it.each(["", "hello", ORIGIN, `${ORIGIN}/#short`, `javascript://x/#${KEY}`, "http://#", `ftp://192.0.2.8/#${KEY}`])(
    "is nothing to go by: %j",
    (pasted) => {
      expect(understandPasted(pasted, ORIGIN)).toEqual({ kind: "none" });
    },
  );
});

describe("the store", () => {
  const storage = () => {
    const kept = new Map<string, string>();
    return {
      getItem: (name: string) => kept.get(name) ?? null,
      setItem: (name: string, value: string) => void kept.set(name, value),
      removeItem: (name: string) => void kept.delete(name),
    } as unknown as Storage;
  };

  it("keeps the key for the next visit, and forgets it when told", () => {
    const shared = storage();
    new KeyStore(() => shared).set(KEY);
    const next = new KeyStore(() => shared);
    expect(next.get()).toBe(KEY);
    next.set(undefined);
    expect(next.get()).toBeUndefined();
    expect(new KeyStore(() => shared).get()).toBeUndefined();
  });

  it("does not take what is no key", () => {
    const shared = storage();
    shared.setItem("perch.watch", "<b>");
    expect(new KeyStore(() => shared).get()).toBeUndefined();
  });

  it("has a memory where storage is forbidden", () => {
    const forbidden = new KeyStore(() => {
      throw new DOMException("denied", "SecurityError");
    });
    forbidden.set(KEY);
    expect(forbidden.get()).toBe(KEY);

    const throwing = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
    const full = new KeyStore(() => ({ getItem: throwing, setItem: throwing, removeItem: throwing }) as unknown as Storage);
    full.set(KEY);
    expect(full.get()).toBe(KEY);
    full.set(undefined);
    expect(full.get()).toBeUndefined();
  });
});
