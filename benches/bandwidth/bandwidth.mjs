// What a viewer sees whose link is narrow, and what the others see of it. Prints Markdown. Needs root: every viewer is
// in a network namespace behind a link of its own (tests/interop/narrow.mjs). PERCH_BIN names the program.

import { parseArgs } from "node:util";

import { height, narrowStage, watch } from "../../tests/interop/narrow.mjs";
import { TRACES } from "./traces.mjs";

const PICTURE = { camera: { width: 1280, height: 720, framerate: 30 }, encoder: { bitrate: 2_000_000 } };
const [FULL, SMALL] = [720, 360];
/** Before the viewers' estimates are there. */
const SETTLE_S = 8;

const { values } = parseArgs({ options: { seconds: { type: "string", default: "15" }, trace: { type: "string", default: "60" } } });
const SECONDS = Number(values.seconds);
const TRACE_SECONDS = Number(values.trace);

const rows = [];
const row = (...cells) => rows.push(`| ${cells.join(" | ")} |`);
const fixed = (value, digits = 0) => value.toFixed(digits);

/** Something like a test, whose stage is struck at its end. */
async function scenario(name, run) {
  const ends = [];
  const t = { name, after: (end) => ends.unshift(end), diagnostic() {} };
  try {
    await run(t);
  } finally {
    for (const end of ends) await end();
  }
}

/** What each sees over `seconds`, and the share of that in the small picture; `meanwhile` is told how they pass. */
const all = (viewers, seconds, meanwhile = () => {}) => Promise.all(viewers.map(async (viewer, n) => {
  let [small, looks] = [0, 0];
  const seen = await watch(viewer, seconds, (video, passed) => {
    looks += 1;
    if (video.height === SMALL) small += 1;
    if (n === 0) meanwhile(passed);
  });
  return { ...seen, small: small / looks };
}));

const tell = (what, who, seen) =>
  row(what, who, fixed(seen.fps, 1), seen.lost, fixed(seen.gap), seen.freezes, fixed(seen.frozen), `${fixed(seen.small * 100)} %`);

const worst = (seen) => seen.reduce((bad, one) => ({
  fps: Math.min(bad.fps, one.fps), lost: bad.lost + one.lost, gap: Math.max(bad.gap, one.gap), freezes: bad.freezes + one.freezes,
  frozen: bad.frozen + one.frozen, small: Math.max(bad.small, one.small),
}));

const moves = (stage) => stage.daemon.lines(/event="viewer-rendition"/).length;

await scenario("one-of-three", async (t) => {
  const { links, viewers } = await narrowStage(t, 3, PICTURE);
  await all(viewers, SETTLE_S);
  for (const kbit of [1000, 300]) {
    links.limit(0, kbit);
    const [change] = await all(viewers, 3);
    const [slow, ...others] = await all(viewers, SECONDS);
    tell(`one link of three at ${kbit} kbit/s: the 3 s of the change`, "the slow one", change);
    tell(`… and ${SECONDS} s after it`, "the slow one", slow);
    tell("", "the other two, the worse of each", worst(others));
  }
});

const steps = [];
await scenario("steps", async (t) => {
  const { stage, links, viewers: [viewer] } = await narrowStage(t, 1, PICTURE);
  await all([viewer], SETTLE_S);
  for (const [kbit, wanted] of [[1000, null], [3000, FULL], [500, SMALL], [3000, FULL]]) {
    links.limit(0, kbit);
    const [took, [seen]] = await Promise.all([wanted ? height(viewer, wanted) : null, all([viewer], SECONDS)]);
    tell(`alone, the link at ${kbit} kbit/s from now on: ${SECONDS} s`, "", seen);
    if (took !== null) steps.push(`${kbit} kbit/s: ${wanted} lines after ${fixed(took / 1000, 1)} s`);
  }
  steps.push(`${moves(stage)} changes of rendition in all`);
});

for (const [name, trace] of Object.entries(TRACES)) {
  await scenario(`trace-${name}`, async (t) => {
    const { stage, links, viewers } = await narrowStage(t, 2, PICTURE);
    await all(viewers, SETTLE_S);
    const kbits = trace(TRACE_SECONDS);
    let second = -1;
    const [traced, other] = await all(viewers, TRACE_SECONDS, (passed) => {
      const now = Math.min(Math.floor(passed), kbits.length - 1);
      if (now > second) links.limit(0, kbits[(second = now)]);
    });
    const mean = kbits.reduce((sum, kbit) => sum + kbit, 0) / kbits.length;
    tell(`trace “${name}”, ${fixed(mean)} kbit/s on average, ${Math.min(...kbits)} at least: ${TRACE_SECONDS} s`, `${moves(stage)} changes of rendition`, traced);
    tell("", "beside it, on a link without limit", other);
  });
}

console.log(`\
Headless Chromium, each viewer behind a link of its own (tbf, 200 ms of queue), 1280x720 at 30 fps and 2.0 Mbit/s; the second
rendition is 640x360. A freeze is what the browser counts as one (W3C webrtc-stats, \`freezeCount\`).

| the link | who | frames/s | packets lost | longest gap, ms | freezes | together, ms | of the time in 640x360 |
|---|---|---:|---:|---:|---:|---:|---:|
${rows.join("\n")}

Of the viewer alone: ${steps.join("; ")}.`);
process.exit(0);
