// The browser, as every suite starts it: headless, and speaking to nobody but the test.

import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** CHROMIUM names the browser; `more` are flags of one suite's own, `program` starts it elsewhere. */
export function launchChromium(more = [], program = CHROMIUM) {
  return chromium.launch({
    executablePath: program,
    headless: true,
    args: [...FLAGS, ...more],
  });
}
