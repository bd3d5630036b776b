// What the host says of a real browser is what the browser says of itself.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { closeBrowser, Stage } from "./stage.mjs";
import { until } from "./until.mjs";

after(closeBrowser);

/** Bytes of RTP payload that the page has received for its picture. */
const received = (viewer) =>
  viewer.page.evaluate(async () => {
    const stats = [...(await window.page.pc.getStats()).values()];
    return stats.find((s) => s.type === "inbound-rtp" && s.kind === "video").bytesReceived;
  });

test("perch status tells how a browser is served", async (t) => {
  const stage = await Stage.set(t);
  const viewer = await stage.watcher("seen");
  // A browser reports every few seconds; the round trip is known from its second report on.
  const row = await until("a report of the browser", 30_000, async () => {
    const [row] = (await stage.daemon.status()).viewers;
    return row?.round_trip_s != null && row.bits_per_s != null ? row : null;
  }, () => stage.daemon.log.slice(-2000));
  assert.equal(row.state, "live");
  assert.equal(row.path, "direct");
  assert.equal(viewer.id.slice(0, 8), row.id);
  assert.ok(row.loss >= 0 && row.loss <= 1, `${row.loss}`);
  stage.figure("round trip by status", row.round_trip_s * 1000, "ms");

  // The host counts what it sends, the page what it gets: between two of the page's counts lies the host's.
  const before = await received(viewer);
  const { viewers: [later] } = await stage.daemon.status();
  const sent = await until("the page to get what was sent", 20_000, async () => {
    const now = await received(viewer);
    return now >= later.sent_bytes * 0.9 ? now : null;
  });
  assert.ok(later.sent_bytes >= before * 0.9, `sent ${later.sent_bytes}, received ${before} before and ${sent} after`);

  await viewer.leave();
  const gone = await until("the host to see it leave", 20_000, async () => {
    const status = await stage.daemon.status();
    return status.viewers.length === 0 ? status : null;
  });
  assert.equal(gone.totals.ended.left, 1);
  assert.equal(gone.totals.joined, 1);
});
