// A camera that fails, and one that is not there, as viewers see it: a slate, and then the picture again, on the
// same peer connection.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";

import { closeBrowser, Stage } from "./stage.mjs";
import { until } from "./until.mjs";

after(closeBrowser);

const SLATE = "640x360";
const CAMERA = "320x180";

/** A directory for PERCH_DATA_DIR with one profile: the test picture, and `more` between it and the encoder. */
async function profile(t, name, more) {
  const dir = await mkdtemp(path.join(tmpdir(), "perch-profile-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  await mkdir(path.join(dir, "pipelines"));
  await write(dir, name, more);
  return { config: { camera: { profile: name } }, env: { PERCH_DATA_DIR: dir }, dir };
}

/** Writes the profile anew: it is read for each start of the camera. */
function write(dir, name, more, { preset = "ultrafast", h264 = "constrained-baseline" } = {}) {
  return writeFile(path.join(dir, "pipelines", `${name}.toml`), `
name = "${name}"
description = "of a test"
[[source]]
elements = ["videotestsrc", "identity"]
launch = "videotestsrc is-live=true ! video/x-raw,format=I420,width={width},height={height},framerate={framerate}/1 ! ${more}"
[[encoder]]
name = "x264"
elements = ["x264enc"]
launch = """x264enc name=encoder tune=zerolatency speed-preset=${preset} bframes=0 key-int-max={keyframe_frames}
bitrate={bitrate_kbit} min-force-key-unit-interval=250000000
! video/x-h264,profile=${h264},stream-format=byte-stream,alignment=au"""
`);
}

/** Follows one viewer: its picture's sizes in the order they came, and that decoding never goes back. */
class Witness {
  sizes = [];
  decoded = 0;

  constructor(viewer) {
    this.viewer = viewer;
  }

  async look() {
    const report = await this.viewer.report();
    if (!report.video) {
      assert.equal(this.decoded, 0, "the figures of a picture that was there are gone");
      return report;
    }
    const { decoded, width, height } = report.video;
    assert.ok(decoded >= this.decoded, `decoded frames fell from ${this.decoded} to ${decoded}`);
    const size = `${width}x${height}`;
    if (decoded > this.decoded && this.sizes.at(-1) !== size) this.sizes.push(size);
    this.decoded = decoded;
    return report;
  }

  /** Until the picture has been of these sizes in turn. */
  sees(sizes, ms) {
    return until(`the sizes ${sizes}`, ms, async () => {
      await this.look();
      return sizes.every((size, i) => this.sizes[i] === size);
    }, () => ({ sizes: this.sizes, decoded: this.decoded }), 100);
  }
}

test("a camera that fails and comes back stays on the same connection", async (t) => {
  const stage = await Stage.set(t, await profile(t, "failing", "identity error-after=120"));
  const viewer = await stage.watcher("witness");
  const witness = new Witness(viewer);
  await witness.sees([CAMERA, SLATE, CAMERA], 60_000);
  await viewer.resetGap();
  await witness.sees([CAMERA, SLATE, CAMERA, SLATE, CAMERA], 60_000);
  const { longestGapMs } = await viewer.moves();
  stage.figure("longest time between two pictures while the camera fails and comes back", longestGapMs, "ms");
  assert.ok(longestGapMs < 5000, `${longestGapMs} ms without any picture`);

  const { offers, connection } = await viewer.report();
  assert.equal(offers.length, 1, "one offer for all of it");
  assert.equal(connection, "connected");
  assert.deepEqual(await viewer.complaints(), []);
  assert.ok(stage.daemon.alive);
  assert.equal(stage.lobby.stream.streamId, stage.streamId, "the lobby noticed nothing");
  for (const event of ["camera-lost", "camera-restart", "camera-back"]) {
    assert.ok(stage.daemon.lines(new RegExp(event)).length >= 2, `${event} stands in the log:\n${stage.daemon.log}`);
  }
});

test("a camera that comes back with another profile is offered anew", async (t) => {
  const { dir, ...options } = await profile(t, "changing", "identity error-after=90");
  const stage = await Stage.set(t, options);
  const viewer = await stage.watcher("witness");
  await write(dir, "changing", "identity error-after=90", { preset: "superfast", h264: "main" });
  const offers = await until("a second offer", 30_000, async () => {
    const report = await viewer.report();
    return report.offers.length === 2 ? report.offers : null;
  }, () => stage.daemon.log);
  assert.match(offers[0], /profile-level-id=42c0/);
  assert.match(offers[1], /profile-level-id=4d/);
  await viewer.moves();
  // The slate is of neither profile's making: a viewer that was offered the main profile sees it, too.
  await new Witness(viewer).sees([CAMERA, SLATE, CAMERA], 60_000);
  assert.equal((await viewer.report()).offers.length, 2, "the slate is no reason for another offer");
  assert.deepEqual(await viewer.complaints(), []);
});

test("who comes while there is no camera sees the slate", async (t) => {
  const stage = await Stage.set(t, {
    config: { camera: { profile: "v4l2", device: "/dev/no-such-camera" } },
  });
  const viewer = await stage.watcher("early");
  const witness = new Witness(viewer);
  await witness.sees([SLATE], 20_000);
  await viewer.moves({ times: 2, frames: 2 });
  await stage.screenshot(viewer, "slate");
  const { longestGapMs } = await viewer.report();
  stage.figure("longest time between two pictures of the slate", longestGapMs, "ms");
  assert.equal(stage.daemon.lines(/camera-waiting/).length, 1, stage.daemon.log);
  assert.deepEqual(await viewer.complaints(), []);
});

test("a camera that nothing helps ends the process in order", async (t) => {
  const stage = await Stage.set(t, await profile(t, "hanging", "fakesink sync=false   videotestsrc is-live=true ! identity sleep-time=600000000"));
  // A streaming thread that sleeps in an element for ten minutes cannot be stopped within five seconds.
  const { code, signal } = await until("the end", 60_000, () => stage.daemon.exit, () => stage.daemon.log);
  assert.equal(signal, null, stage.daemon.log);
  assert.equal(code, 1, stage.daemon.log);
  assert.match(stage.daemon.log, /camera-gave-up/);
  assert.match(stage.daemon.log, /does not stop/);
  await until("the lobby to hear of it", 5000, () => stage.lobby.stream === null || stage.lobby.stream === undefined);
});

/** One that obeys nobody: a keyframe every two seconds, whatever is asked of it. */
const OWN_ENCODER = `
name = "camera"
description = "of a test"
[[source]]
media = "video/x-h264"
elements = ["videotestsrc", "x264enc"]
launch = """
videotestsrc is-live=true ! video/x-raw,format=I420,width={width},height={height},framerate={framerate}/1
! x264enc tune=zerolatency speed-preset=ultrafast bframes=0 key-int-max=30 min-force-key-unit-interval=3600000000000
! video/x-h264,profile=constrained-baseline
"""
`;

test("what a camera encodes by itself is sent as it is, and who joins waits for its next keyframe", async (t) => {
  const setting = await profile(t, "camera", "identity");
  await writeFile(path.join(setting.dir, "pipelines", "camera.toml"), OWN_ENCODER);
  const stage = await Stage.set(t, setting);
  for (const name of ["first", "second"]) {
    const viewer = await stage.watcher(name);
    await viewer.firstFrame();
    await viewer.moves({ times: 3 });
    const { video } = await viewer.report();
    assert.deepEqual([video.width, video.height], [320, 180]);
    assert.deepEqual(await viewer.complaints(), []);
  }
  assert.match(stage.daemon.log, /camera gives its picture.*the camera's own/);
  assert.doesNotMatch(stage.daemon.log, /camera-restart|not-commanded| (WARN|ERROR) /);
});
