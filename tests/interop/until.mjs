// Waiting for what can be observed, with a deadline that a loaded machine keeps.

import { setTimeout as sleep } from "node:timers/promises";

/**
 * Polls `look` every `pace` ms until it returns something truthy and returns that.
 * On the deadline it fails with `what` and, where given, the state at the end.
 */
export async function until(what, ms, look, state = null, pace = 50) {
  const deadline = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) {
      const seen = state ? `; seen: ${JSON.stringify(await state()).slice(0, 3000)}` : "";
      throw new Error(`waited ${ms} ms in vain for ${what}${seen}`);
    }
    await sleep(pace);
  }
}
