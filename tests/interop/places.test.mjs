// How many may watch, and how it ends.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { closeBrowser, Stage } from "./stage.mjs";
import { until } from "./until.mjs";

after(closeBrowser);

const refusals = (stage) => stage.lobby.sent("live:viewer-refused");
const offersTo = (stage, id) => stage.lobby.sent("live:signal-offer", (r) => r.payload.to === id);

test("a full host says so, and lets the next one in when a place is free", async (t) => {
  const stage = await Stage.set(t, { config: { viewers: { max: 2 } } });
  const [one, two] = [await stage.watcher("one"), await stage.watcher("two")];
  const three = await stage.page("three");
  assert.equal(await three.watch(), true);

  const [refusal] = await until("a refusal", 10_000, () => {
    const found = refusals(stage);
    return found.length > 0 ? found : null;
  }, () => stage.daemon.log);
  assert.deepEqual(refusal.payload, { streamId: stage.streamId, to: three.id, reason: "full", max: 2 });
  await Promise.all([one.moves(), two.moves()]);
  assert.equal(offersTo(stage, three.id).length, 0, "no offer to the one too many");
  assert.deepEqual(await three.complaints(), [], "a page that knows nothing of refusals survives one");

  await three.leave();
  await two.leave();
  await three.watch();
  await three.firstFrame();
  await Promise.all([one.moves(), three.moves()]);
  assert.equal(refusals(stage).length, 1);
  for (const viewer of [one, two, three]) assert.deepEqual(await viewer.complaints(), [], viewer.name);
});

test("SIGTERM ends the stream for the lobby and for the viewers", async (t) => {
  const stage = await Stage.set(t);
  const viewers = [await stage.watcher("one"), await stage.watcher("two")];
  await Promise.all(viewers.map((viewer) => viewer.moves()));

  const exit = await stage.daemon.terminate();
  stage.figure("from SIGTERM to the exit", exit.ms, "ms");
  assert.deepEqual([exit.code, exit.signal], [0, null], stage.daemon.log);
  assert.ok(exit.ms < 3000, `the exit took ${exit.ms} ms`);
  const ends = await until("live:end", 5000, () => {
    const found = stage.lobby.sent("live:end");
    return found.length > 0 ? found : null;
  });
  assert.deepEqual(ends.map((r) => r.payload), [{ streamId: stage.streamId }]);
  for (const viewer of viewers) {
    await until(`live:ended at ${viewer.name}`, 5000, async () =>
      (await viewer.report()).events.some((e) => e.event === "live:ended" && e.streamId === stage.streamId));
  }
  assert.equal(stage.lobby.list().length, 0, "the lobby's list is empty");
});

test("SIGTERM before any lobby is reached is a clean exit too", async (t) => {
  const stage = await Stage.set(t, { live: false, lobby: { ackStart: false } });
  await until("a connection", 20_000, () => stage.lobby.connects((r) => r.accepted).length > 0, () => stage.daemon.log);
  const exit = await stage.daemon.terminate();
  assert.deepEqual([exit.code, exit.signal], [0, null], stage.daemon.log);
  assert.ok(exit.ms < 3000, `the exit took ${exit.ms} ms`);
});
