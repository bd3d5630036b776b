// From "watch" to the first picture on Chromium's screen, page after page. Prints Markdown.
// PERCH_BIN names the program; --visits says how many pages come.

import { parseArgs } from "node:util";

import { Daemon } from "../../tests/interop/daemon.mjs";
import { Lobby } from "../../tests/interop/lobby.mjs";
import { Browser } from "../../tests/interop/viewer.mjs";

const { values } = parseArgs({ options: { visits: { type: "string", default: "30" } } });
const VISITS = Number(values.visits);
/** The browser's first decoder takes longer to start than all others. */
const WARM_UP = 2;

/** How long each of the visits waited for its first picture, in ms. */
async function visits(spare) {
  const lobby = await Lobby.start({ chatter: false });
  const daemon = await Daemon.start(lobby, {
    name: "join",
    config: { camera: { width: 1280, height: 720, framerate: 30 }, encoder: { bitrate: 2_000_000 }, viewers: { spare } },
  });
  const browser = await Browser.start();
  const waits = [];
  try {
    await daemon.live(lobby);
    for (let visit = 0; visit < WARM_UP + VISITS; visit += 1) {
      const viewer = await browser.viewer(lobby, `visitor ${visit}`);
      await viewer.watch();
      const { firstFrameMs } = await viewer.firstFrame();
      if (visit >= WARM_UP) waits.push(firstFrameMs);
      await viewer.close();
    }
  } finally {
    await browser.stop();
    await daemon.reap();
    await lobby.stop();
  }
  return waits.sort((a, b) => a - b);
}

const row = (what, waits) => {
  const at = (q) => waits[Math.min(waits.length - 1, Math.floor(q * waits.length))].toFixed(0);
  return `| ${what} | ${waits.length} | ${at(0.5)} | ${at(0.95)} | ${at(1)} |`;
};

console.log(`\
From the page's \`live:join\` to the first picture that it presents (requestVideoFrameCallback), headless Chromium on the same
machine, one page after the other, npm's Socket.IO server as the lobby, 1280x720 at 30 fps and 2.0 Mbit/s.

| | pages | median, ms | p95, ms | largest, ms |
|---|---:|---:|---:|---:|
${row("one branch kept ready (`[viewers] spare = 1`)", await visits(1))}
${row("none", await visits(0))}`);
