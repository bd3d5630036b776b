// Links that change as radios do. Generated, so that everybody has the same: a seeded generator, one value a second.
//
// - `lte`: a first-order autoregressive walk of the logarithm (coefficient 0.85, deviation 0.35 a second) around
//   2.2 Mbit/s, between 0.25 and 8 Mbit/s, as a phone's downlink in a moving car looks.
// - `wifi`: 8 Mbit/s that fall to 0.4 to 1.2 Mbit/s for one to four seconds, about every twelve: somebody walks
//   through the way, or a neighbour downloads.

/** Uniform numbers of [0, 1) (mulberry32). */
function dice(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Normal numbers (Box and Muller). */
const normal = (roll) => Math.sqrt(-2 * Math.log(1 - roll())) * Math.cos(2 * Math.PI * roll());

function lte(seconds) {
  const roll = dice(20261125);
  let deviation = 0;
  return Array.from({ length: seconds }, () => {
    deviation = 0.85 * deviation + 0.35 * normal(roll);
    return Math.round(Math.min(8000, Math.max(250, 2200 * Math.exp(deviation))));
  });
}

function wifi(seconds) {
  const roll = dice(4711);
  let [dips, depth] = [0, 0];
  return Array.from({ length: seconds }, () => {
    if (dips === 0 && roll() < 1 / 12) [dips, depth] = [1 + Math.floor(roll() * 4), 400 + roll() * 800];
    if (dips === 0) return 8000;
    dips -= 1;
    return Math.round(depth);
  });
}

/** Kbit/s for each second, by name. */
export const TRACES = { lte, wifi };
