// A picture in real browsers, through the lobby that people run.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { attributes, profileLevelId, sections } from "./sdp.mjs";
import { closeBrowser, Stage } from "./stage.mjs";
import { until } from "./until.mjs";

after(closeBrowser);

const HD = { camera: { width: 1280, height: 720, framerate: 30 }, encoder: { bitrate: 2_000_000 } };

/** The offer is there before the join is. */
const READY = { config: { viewers: { spare: 1 } } };

/** The best frame rate over any 5 s, by decoded frames; ends early once `enough` is reached. */
async function bestRate(viewer, enough, ms) {
  const samples = [];
  let best = 0;
  await until(`${enough} fps over 5 s`, ms, async () => {
    const { video } = await viewer.report();
    if (!video) return false; // a browser that is busy may have no statistics at the moment
    samples.push(video);
    const from = samples.findLast((s) => video.at - s.at >= 5000);
    if (from) best = Math.max(best, ((video.decoded - from.decoded) * 1000) / (video.at - from.at));
    return best >= enough;
  }, () => ({ best, last: samples.at(-1) }));
  return best;
}

test("one viewer sees 1280x720 at full rate", async (t) => {
  const stage = await Stage.set(t, { config: HD });
  const viewer = await stage.page("first");
  assert.equal(await viewer.watch(), true, "the lobby knows the stream");
  const first = await viewer.firstFrame();
  stage.figure("first frame after the join", first.firstFrameMs, "ms");

  await viewer.moves({ times: 4 });
  const spread = await viewer.pictureMoves();
  assert.ok(spread > 30, `the picture is not one flat colour (grey values spread over ${spread})`);
  stage.figure("best frame rate over 5 s at 1280x720", await bestRate(viewer, 25, 40_000), "fps");

  const { video } = await viewer.report();
  assert.deepEqual([video.width, video.height], [1280, 720]);
  assert.match(video.codec.mimeType, /H264/i);
  await stage.screenshot(viewer, "picture");
  assert.deepEqual(await viewer.complaints(), []);
});

test("the first offer is right for pages that never renegotiate", async (t) => {
  const stage = await Stage.set(t, { config: { audio: { enabled: true } } });
  const viewer = await stage.watcher("reader", { sps: true });
  const { sps, offers } = await until("an SPS in the stream", 20_000, async () => {
    const r = await viewer.report();
    return r.sps ? r : null;
  });
  assert.equal(offers.length, 1, "one offer is enough");

  const media = sections(offers[0]);
  assert.deepEqual(media.map((m) => m.kind).sort(), ["audio", "video"]);
  const video = media.find((m) => m.kind === "video");
  assert.equal(profileLevelId(video), sps, "the offer tells what the encoder emits");
  const streams = new Set(media.flatMap((m) => attributes(m, "msid").map((msid) => msid.split(" ")[0])));
  assert.equal(streams.size, 1, `audio and video are in one stream: ${[...streams]}`);
  assert.ok(media.every((m) => attributes(m, "msid").length === 1), "every track names its stream");
  assert.ok(media.every((m) => m.lines.includes("a=sendonly")), "the host only sends");

  const toViewer = stage.lobby.record.filter((r) => /^live:signal-/.test(r.event ?? "") && r.payload.to === viewer.id);
  assert.equal(toViewer[0].event, "live:signal-offer", "no candidate comes before the offer");
  assert.ok(toViewer.slice(1).some((r) => r.payload.candidate?.candidate), "candidates follow it");
  for (const { payload } of toViewer) assert.equal(payload.streamId, stage.streamId);
  assert.deepEqual(await viewer.complaints(), []);
});

test("audio plays in the same stream as the picture", async (t) => {
  const stage = await Stage.set(t, { config: { audio: { enabled: true } } });
  const viewer = await stage.watcher("listener");
  const heard = await until("audio with energy", 20_000, async () => {
    const r = await viewer.report();
    return r.audio?.packets > 50 && r.audio.energy > 0 ? r : null;
  }, () => viewer.brief());
  assert.deepEqual(heard.tracks.map((track) => track.kind).sort(), ["audio", "video"]);
  assert.equal(new Set(heard.tracks.map((track) => track.stream)).size, 1, "one stream for both");
  assert.ok(heard.tracks.every((track) => track.streams === 1));
  await viewer.moves();
  assert.deepEqual(await viewer.complaints(), []);
});

test("without audio there is no audio track", async (t) => {
  const stage = await Stage.set(t, { config: { audio: { enabled: false } } });
  const viewer = await stage.watcher("watcher");
  const { tracks } = await viewer.moves();
  assert.deepEqual(tracks.map((track) => track.kind), ["video"]);
});

test("a viewer leaves and joins again on the same socket", async (t) => {
  const stage = await Stage.set(t, READY);
  const viewer = await stage.watcher("returner");
  for (const round of [1, 2, 3]) {
    await viewer.leave();
    await viewer.watch();
    const { firstFrameMs } = await viewer.firstFrame();
    stage.figure(`first frame after join number ${round + 1}`, firstFrameMs, "ms");
    await viewer.moves();
  }
  assert.deepEqual(await viewer.complaints(), []);
});


test("a viewer that joins twice in a row gets a picture", async (t) => {
  const stage = await Stage.set(t, READY);
  const viewer = await stage.page("double");
  await viewer.watch(stage.streamId, { joins: 2 });
  await viewer.firstFrame();
  await viewer.moves();
  const joins = stage.lobby.sent("live:join", (r) => r.socket === viewer.id);
  assert.equal(joins.length, 2);
  assert.deepEqual(await viewer.complaints(), []);
});

test("a page that is mounted, unmounted and mounted at once gets a picture", async (t) => {
  const stage = await Stage.set(t, READY);
  const viewer = await stage.page("strict");
  await viewer.page.evaluate((id) => {
    window.page.watch(id);
    window.page.leave();
    return window.page.watch(id);
  }, stage.streamId);
  await viewer.firstFrame();
  await viewer.moves();
});

test("two viewers, then ten, each with a moving picture", async (t) => {
  const stage = await Stage.set(t);
  const pages = [await stage.watcher("v1"), await stage.watcher("v2")];
  await Promise.all(pages.map((viewer) => viewer.moves()));
  await until("a count of 2", 5000, async () => (await pages[0].report()).update[0]?.viewers === 2);

  for (let n = 3; n <= 10; n += 1) pages.push(await stage.page(`v${n}`));
  await Promise.all(pages.slice(2).map((viewer) => viewer.watch()));
  const firsts = await Promise.all(pages.slice(2).map((viewer) => viewer.firstFrame(40_000)));
  stage.figure("slowest first frame of eight that join at once", Math.max(...firsts.map((r) => r.firstFrameMs)), "ms");
  await Promise.all(pages.map((viewer) => viewer.moves({ ms: 40_000 })));
  await until("a count of 10", 5000, async () => (await pages[0].report()).update[0]?.viewers === 10);

  const rates = await Promise.all(pages.map(async (viewer) => (await viewer.report()).video.fps ?? 0));
  stage.figure("slowest of ten pictures at 320x180, 15 fps", Math.min(...rates), "fps");
  await stage.screenshot(pages[9], "tenth");
  await Promise.all(pages.slice(5).map((viewer) => viewer.leave()));
  await until("a count of 5", 5000, async () => (await pages[0].report()).update[0]?.viewers === 5);
  await Promise.all(pages.slice(0, 5).map((viewer) => viewer.moves()));
  for (const viewer of pages) assert.deepEqual(await viewer.complaints(), [], viewer.name);
});
