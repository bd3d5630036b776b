/** The lobby's token for viewers: asked for anew before each connect, because it expires unseen. */

export type TokenReply =
  | { readonly kind: "token"; readonly token: string }
  /** The key is not (or no longer) this device's. */
  | { readonly kind: "denied" }
  /** Not now; `afterMs` where the lobby says when. */
  | { readonly kind: "later"; readonly afterMs: number | undefined };

/** How long an answer may take, in ms. */
const DEADLINE_MS = 10_000;

/**
 * POSTs the watch key. `sawClock` hears the lobby's clock (ms since the epoch, whole seconds): it is
 * the one that `startedAt` is written by, and a device without a battery-backed clock may be far off.
 */
export async function fetchToken(key: string, sawClock: (lobbyMs: number) => void): Promise<TokenReply> {
  let response: Response;
  try {
    response = await fetch("/api/token", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ watch: key }),
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
  } catch {
    return { kind: "later", afterMs: undefined };
  }
  const clock = Date.parse(response.headers.get("date") ?? "");
  if (Number.isFinite(clock)) sawClock(clock);
  if (response.status === 401 || response.status === 403) return { kind: "denied" };
  if (!response.ok) return { kind: "later", afterMs: retryAfter(response) };
  const body: unknown = await response.json().catch(() => undefined);
  const token = typeof body === "object" && body !== null && "token" in body ? body.token : undefined;
  return typeof token === "string" && token !== "" ? { kind: "token", token } : { kind: "later", afterMs: undefined };
}

/** `Retry-After` in seconds (RFC 9110 §10.2.3), at most a minute of it. */
function retryAfter(response: Response): number | undefined {
  const seconds = Number(response.headers.get("retry-after") ?? "");
  return seconds > 0 ? Math.min(seconds, 60) * 1000 : undefined;
}
