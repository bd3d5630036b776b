// From the camera's picture to Chromium's screen: a clock in the picture, read where it is shown.
// Prints Markdown. Needs root: the viewer is in a network namespace, so that packets on the way to it can be lost.
// PERCH_BIN and SWARM_BIN name the programs; --seconds says how long to watch.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

import { killAtExit } from "../../tests/interop/children.mjs";
import { lacking } from "../../tests/interop/namespaces.mjs";
import { narrowStage } from "../../tests/interop/narrow.mjs";
import { until } from "../../tests/interop/until.mjs";
import { measure } from "./measure.page.js";

const [WIDTH, HEIGHT] = [1280, 720];
/** The first pictures come while the browser warms up. */
const WARM_UP_MS = 3000;
const LOST = 3;
const WAYS = [
  ["nothing is lost", () => {}],
  [`${LOST} % of the packets are lost`, (links) => links.lose(0, LOST)],
];

/** The encoder of the built-in test profile behind a camera that tells the time. */
const profile = (socket) => `
name = "clock"
description = "a picture that tells the time"

[[source]]
elements = ["shmsrc"]
launch = """
shmsrc socket-path=${socket} is-live=true do-timestamp=true
! video/x-raw,format=I420,width={width},height={height},framerate={framerate}/1,pixel-aspect-ratio=1/1
! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 leaky=downstream
"""

[[encoder]]
name = "x264"
elements = ["x264enc"]
launch = """
x264enc name=encoder tune=zerolatency speed-preset=ultrafast bframes=0 threads=2
key-int-max={keyframe_frames} bitrate={bitrate_kbit} vbv-buf-capacity=400
min-force-key-unit-interval=250000000
! video/x-h264,profile=constrained-baseline,stream-format=byte-stream,alignment=au
"""
`;

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];

async function startCamera(socket) {
  const swarm = path.resolve(process.env.SWARM_BIN ?? "target/release/swarm");
  const size = ["--width", String(WIDTH), "--height", String(HEIGHT)];
  const camera = spawn(swarm, ["clock-camera", "--socket", socket, ...size], { stdio: "inherit" });
  killAtExit(camera);
  await until("the camera's socket", 10_000, () => {
    if (camera.exitCode !== null) throw new Error("the camera did not start");
    return existsSync(socket);
  });
  return camera;
}

/** The device, one viewer, and what is done about the way between them before each of the measurements. */
async function run(t, seconds, dir) {
  const socket = path.join(dir, "camera");
  await mkdir(path.join(dir, "pipelines"));
  await writeFile(path.join(dir, "pipelines/clock.toml"), profile(socket));
  const camera = await startCamera(socket);
  t.after(() => camera.kill());
  const config = {
    camera: { profile: "clock", width: WIDTH, height: HEIGHT, framerate: 30 },
    encoder: { bitrate: 2_000_000 },
  };
  const { links, viewers: [viewer] } = await narrowStage(t, 1, config, { env: { PERCH_DATA_DIR: dir } });
  const rows = [];
  for (const [what, prepare] of WAYS) {
    prepare(links);
    rows.push([what, await viewer.page.evaluate(measure, { seconds, warmUpMs: WARM_UP_MS, width: WIDTH })]);
  }
  return rows;
}

const row = (seconds) => ([what, { latencies, unread, gap, small }]) => {
  if (latencies.length < seconds * 20) {
    throw new Error(`${what}: only ${latencies.length} pictures in ${seconds} s could be read, ${unread} could not`);
  }
  latencies.sort((a, b) => a - b);
  const cell = (q) => quantile(latencies, q).toFixed(1);
  return `| ${what} | ${latencies.length} | ${unread} | ${small} | ${cell(0.5)} | ${cell(0.95)} | ${cell(1)} | ${gap.toFixed(0)} |`;
};

const { values } = parseArgs({ options: { seconds: { type: "string", default: "30" } } });
const seconds = Number(values.seconds);
const reason = lacking();
if (reason) {
  console.log(`Not measured: ${reason}.`);
  process.exit(0);
}
const ends = [];
const t = { name: "latency", after: (end) => ends.unshift(end), diagnostic() {} };
const dir = await mkdtemp(path.join(tmpdir(), "perch-latency-"));
t.after(() => rm(dir, { recursive: true, force: true }));
try {
  const rows = await run(t, seconds, dir);
  console.log(`\
Capture to render in headless Chromium on the same machine, behind a link of its own, ${WIDTH}x${HEIGHT} at 30 fps and
2.0 Mbit/s, ${seconds} s each: from the moment a picture is drawn to the moment the page's requestVideoFrameCallback has it.
The page reads every picture back, and is late itself at times.

| | pictures read | unreadable | of them in 640x360 | median, ms | p95, ms | largest, ms | longest gap between two, ms |
|---|---:|---:|---:|---:|---:|---:|---:|
${rows.map(row(seconds)).join("\n")}`);
} finally {
  for (const end of ends) await end();
}
process.exit(0);
