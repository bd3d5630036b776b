/** A random number in [0, 1), injected so that tests choose it. */
export type Random = () => number;

/**
 * How long to wait after the `failures`-th failure in a row (1 = the first), in ms: doubling from
 * `firstMs` up to `capMs`, the upper half of it by chance, so that many viewers that were cut off
 * together do not come back in one instant.
 */
export function backoff(failures: number, firstMs: number, capMs: number, random: Random): number {
  const full = Math.min(capMs, firstMs * 2 ** Math.min(Math.max(failures, 1) - 1, 30));
  return full / 2 + (full / 2) * random();
}
