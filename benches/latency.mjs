// From the moment a picture is taken to the moment Chromium presents it, read from a time code in the
// picture itself: `node benches/latency.mjs [SECONDS]`, 30 by default. Prints Markdown.
//
// PERCH_BIN and CLOCK_CAMERA name the binaries; CHROMIUM the browser. Camera, host and browser run on
// one machine and go by one clock. What it measures: conversion, encoder, payloader, SRTP, a network
// without delay, jitter buffer, decoder, compositor. What not: a lens, a sensor, a screen.

import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { Daemon } from "../tests/interop/daemon.mjs";
import { Lobby } from "../tests/interop/lobby.mjs";
import { until } from "../tests/interop/until.mjs";
import { Browser } from "../tests/interop/viewer.mjs";

const SECONDS = Number(process.argv[2] ?? 30);
const [WIDTH, HEIGHT, FRAMERATE, BITRATE] = [1280, 720, 30, 2_000_000];
const CAMERA = path.resolve(process.env.CLOCK_CAMERA ?? "target/release/examples/clock_camera");

/** A data directory with one profile: the clock camera, and the encoder as the shipped profiles have it. */
async function profile(directory, socket) {
  await mkdir(path.join(directory, "pipelines"));
  await writeFile(path.join(directory, "pipelines/clock.toml"), `
name = "clock"
description = "the clock camera of the latency benchmark"
[[source]]
elements = ["shmsrc"]
launch = """
shmsrc socket-path=${socket} is-live=true do-timestamp=true
! video/x-raw,format=I420,width={width},height={height},framerate={framerate}/1
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
`);
}

/** In the page: reads the time code of every frame that is presented, for so many seconds. */
function readTimeCodes([seconds, width]) {
  const video = document.getElementById("video");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [32, 2];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const code = (row) => {
    const { data } = context.getImageData(0, row, 32, 1);
    let bits = 0;
    for (let bit = 0; bit < 32; bit += 1) bits = ((bits << 1) | (data[bit * 4] > 127 ? 1 : 0)) >>> 0;
    return bits;
  };
  return new Promise((resolve) => {
    const [composed, rendered, displayed] = [[], [], []];
    let torn = 0;
    const end = performance.now() + seconds * 1000;
    // Both clocks in units of 100 µs, modulo 2³².
    const since = (shown, time) => ((Math.floor((performance.timeOrigin + time) * 10) >>> 0) - shown | 0) / 10;
    const onFrame = (_, { presentationTime, expectedDisplayTime }) => {
      const called = performance.now();
      context.drawImage(video, 0, 0, width, 128, 0, 0, 32, 2);
      const [shown, inverse] = [code(0), code(1)];
      if ((~shown >>> 0) === inverse) {
        composed.push(since(shown, presentationTime));
        rendered.push(since(shown, called));
        displayed.push(since(shown, expectedDisplayTime));
      } else torn += 1;
      if (performance.now() < end) video.requestVideoFrameCallback(onFrame);
      else resolve({ composed, rendered, displayed, torn, skew: Date.now() - performance.timeOrigin - performance.now() });
    };
    video.requestVideoFrameCallback(onFrame);
  });
}

/** A row of the table: median, 95th and 99th percentile. */
function row(what, latencies) {
  const sorted = latencies.toSorted((a, b) => a - b);
  const cells = [0.5, 0.95, 0.99].map((q) => `${sorted[Math.floor(q * (sorted.length - 1))].toFixed(1)} ms`);
  return `| ${what} | ${cells.join(" | ")} |`;
}

async function measure(scene) {
  const socket = path.join(scene.directory, "camera");
  await profile(scene.directory, socket);
  scene.camera = spawn(CAMERA, [socket, WIDTH, HEIGHT, FRAMERATE], { stdio: ["pipe", "inherit", "inherit"] });
  scene.lobby = await Lobby.start({});
  scene.daemon = await Daemon.start(scene.lobby, {
    name: "latency",
    env: { PERCH_DATA_DIR: scene.directory },
    config: {
      camera: { profile: "clock", width: WIDTH, height: HEIGHT, framerate: FRAMERATE },
      encoder: { bitrate: BITRATE },
    },
  });
  await scene.daemon.live(scene.lobby);
  scene.browser = await Browser.start();
  const viewer = await scene.browser.viewer(scene.lobby, "latency");
  await viewer.watch();
  await viewer.firstFrame();
  await until("five seconds of steady picture", 60_000, async () => (await viewer.report()).video.decoded > 5 * FRAMERATE);
  return viewer.page.evaluate(readTimeCodes, [SECONDS, WIDTH]);
}

async function strike({ browser, daemon, lobby, camera, directory }) {
  await browser?.stop();
  await daemon?.reap();
  await lobby?.stop();
  camera?.stdin.end();
  await rm(directory, { recursive: true, force: true });
}

const scene = { directory: await mkdtemp(path.join(tmpdir(), "perch-latency-")) };
try {
  const { composed, rendered, displayed, torn, skew } = await measure(scene);
  if (composed.length < SECONDS * FRAMERATE * 0.5) throw new Error(`only ${composed.length} time codes were read, ${torn} torn`);
  // The page's clock is the machine's, taken when the page was loaded.
  if (Math.abs(skew) > 2) throw new Error(`the page's clock is off by ${skew} ms: the wall clock was set meanwhile`);
  console.log(`| ${WIDTH}x${HEIGHT}, ${FRAMERATE} fps, ${BITRATE / 1e6} Mbit/s, ${composed.length} frames | median | p95 | p99 |`);
  console.log("|---|---|---|---|");
  console.log(row("capture → handed to Chromium's compositor", composed));
  console.log(row("capture → rendered (requestVideoFrameCallback)", rendered));
  console.log(row("capture → expected on the display (60 Hz)", displayed));
} finally {
  await strike(scene);
}
