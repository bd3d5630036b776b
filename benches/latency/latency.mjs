// From the camera's picture to Chromium's screen: a clock in the picture, read where it is shown.
// Prints Markdown. PERCH_BIN and SWARM_BIN name the programs; --seconds says how long to watch.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

import { killAtExit } from "../../tests/interop/children.mjs";
import { Daemon } from "../../tests/interop/daemon.mjs";
import { Lobby } from "../../tests/interop/lobby.mjs";
import { until } from "../../tests/interop/until.mjs";
import { Browser } from "../../tests/interop/viewer.mjs";
import { measure } from "./measure.page.js";

const [WIDTH, HEIGHT] = [1280, 720];
/** The first pictures come while the browser warms up. */
const WARM_UP_MS = 3000;

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

async function run(seconds, dir) {
  const socket = path.join(dir, "camera");
  await mkdir(path.join(dir, "pipelines"));
  await writeFile(path.join(dir, "pipelines/clock.toml"), profile(socket));
  const camera = await startCamera(socket);
  const lobby = await Lobby.start({ chatter: false });
  const daemon = await Daemon.start(lobby, {
    name: "latency",
    config: {
      camera: { profile: "clock", width: WIDTH, height: HEIGHT, framerate: 30 },
      // The clock is read from this picture's size; the page, which reads every picture back, is late, and would be sent
      // the smaller one.
      encoder: { bitrate: 2_000_000, second_rendition: false },
    },
    env: { PERCH_DATA_DIR: dir },
  });
  const browser = await Browser.start();
  try {
    await daemon.live(lobby);
    const viewer = await browser.viewer(lobby, "stopwatch");
    await viewer.watch();
    await viewer.firstFrame();
    return await viewer.page.evaluate(measure, { seconds, warmUpMs: WARM_UP_MS, width: WIDTH });
  } finally {
    await browser.stop();
    await daemon.reap();
    await lobby.stop();
    camera.kill();
  }
}

const { values } = parseArgs({ options: { seconds: { type: "string", default: "30" } } });
const seconds = Number(values.seconds);
const dir = await mkdtemp(path.join(tmpdir(), "perch-latency-"));
try {
  const { latencies, unread } = await run(seconds, dir);
  if (latencies.length < seconds * 20) {
    throw new Error(`only ${latencies.length} pictures in ${seconds} s could be read, ${unread} could not`);
  }
  latencies.sort((a, b) => a - b);
  const cell = (q) => quantile(latencies, q).toFixed(1);
  console.log(`\
Capture to render in headless Chromium on the same machine, ${WIDTH}x${HEIGHT} at 30 fps and 2.0 Mbit/s, ${seconds} s: from
the moment a picture is drawn to the moment the page's requestVideoFrameCallback has it.

| pictures read | unreadable | median, ms | p95, ms | largest, ms |
|---:|---:|---:|---:|---:|
| ${latencies.length} | ${unread} | ${cell(0.5)} | ${cell(0.95)} | ${cell(1)} |`);
} finally {
  await rm(dir, { recursive: true, force: true });
}
