// The device's network changes, or is silent for a while: who was reached over what went away is given a new
// connection, nobody else notices.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, test } from "node:test";

import { ip, lacking, nft } from "./namespaces.mjs";
import { closeBrowser, Stage } from "./stage.mjs";
import { until } from "./until.mjs";

after(closeBrowser);

let networks = 0;

/** A network for the device alone: a cable to the lobby, which carries no media, and two to the viewers. */
class DeviceNetwork {
  constructor(t) {
    networks += 1;
    this.t = t;
    this.name = `perch-line-${process.pid}-${networks}`;
    this.prefix = ["ip", "netns", "exec", this.name];
    ip("netns", "add", this.name);
    t.after(() => ip("netns", "delete", this.name));
    this.inside("link", "set", "lo", "up");
    [this.uplink, ...this.cables] = [0, 1, 2].map((n) => this.#cable(n));
    this.near = this.uplink.near;
    this.admit(...this.cables);
  }

  #cable(n) {
    const [outside, inside] = [`pl${process.pid}o${networks}${n}`, `pl${process.pid}i${networks}${n}`];
    const net = `10.23${2 + n}.${(process.pid + networks) % 250}`;
    ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", this.name);
    ip("address", "add", `${net}.1/30`, "dev", outside);
    ip("link", "set", outside, "up");
    this.inside("address", "add", `${net}.2/30`, "dev", inside);
    this.inside("link", "set", inside, "up");
    return { outside, inside, near: `${net}.1`, device: `${net}.2` };
  }

  inside(...args) {
    return ip("-n", this.name, ...args);
  }

  unplug(cable) {
    this.inside("address", "del", `${cable.device}/30`, "dev", cable.inside);
  }

  plug(cable) {
    this.inside("address", "add", `${cable.device}/30`, "dev", cable.inside);
  }

  /** Pages' packets to the cables come from an address that the device has no other route to than the default one. */
  faraway() {
    const far = this.cables[0].near.replace("10.233.", "10.235.");
    ip("address", "add", `${far}/32`, "dev", "lo");
    this.t.after(() => ip("address", "del", `${far}/32`, "dev", "lo"));
    for (const { near, outside } of this.cables) {
      // Routers do not pretend to be who is behind them: a socket that is bound to an interface without a route would
      // take such a page for a neighbour.
      for (const [name, value] of [["arp_ignore", 1], ["arp_announce", 2]]) {
        writeFileSync(`/proc/sys/net/ipv4/conf/${outside}/${name}`, String(value));
      }
      const net = near.replace(/1$/, "0/30");
      ip("route", "change", net, "dev", outside, "proto", "kernel", "scope", "link", "src", far);
    }
  }

  defaultRoute(cable) {
    this.inside("route", "replace", "default", "via", cable.near, "dev", cable.inside);
  }

  /** Pages get through over these cables and no other; with a `port`, only the page that has it. */
  admit(...cables) {
    const way = ({ inside, port }) => `iifname "${inside}" ${port ? `udp sport ${port} ` : ""}accept`;
    this.nft(`table inet pages
    delete table inet pages
    table inet pages {
      chain input {
        type filter hook input priority 0; policy accept;
        meta l4proto != udp accept
        iifname "lo" accept
        ${cables.map(way).join("\n")}
        drop
      }
    }`);
  }

  nft(rules) {
    nft(this.name, rules);
  }

  /** No media passes any more, in or out. */
  silence() {
    this.nft(`table inet silence {
      chain input {
        type filter hook input priority 0; policy accept;
        iifname != "lo" meta l4proto udp drop
      }
      chain output {
        type filter hook output priority 0; policy accept;
        oifname != "lo" meta l4proto udp drop
      }
    }`);
  }

  speak() {
    this.nft("delete table inet silence");
  }
}

const set = (t, network, more = {}) => Stage.set(t, { lobby: { host: network.near }, prefix: network.prefix, ...more });

/** The way by which a page gets its picture: the device's address, and the page's own port. */
const way = (viewer) => viewer.page.evaluate(async () => {
  const stats = [...(await window.page.pc.getStats()).values()];
  const chosen = stats.find((s) => s.type === "transport")?.selectedCandidatePairId;
  const pair = stats.find((s) => s.id === chosen);
  const [local, remote] = [pair?.localCandidateId, pair?.remoteCandidateId].map((id) => stats.find((s) => s.id === id));
  return { device: remote?.address ?? remote?.ip, port: local?.port };
});
const source = async (viewer) => (await way(viewer)).device;

const events = (stage, name) => stage.daemon.lines(new RegExp(`event="${name}"`));

const changes = (stage, times) => until(`change ${times} to be seen`, 20_000, () =>
  events(stage, "network-changed").length >= times, () => stage.daemon.log.slice(-2000));

test("an address that goes away takes nobody's picture for long, and only theirs who used it", async (t) => {
  const reason = lacking();
  if (reason) return t.skip(reason);
  const network = new DeviceNetwork(t);
  const stage = await set(t, network);
  const [one, two] = [await stage.watcher("one"), await stage.watcher("two")];
  const used = await source(one);
  const cable = network.cables.find((c) => c.device === used);
  const other = network.cables.find((c) => c.device !== used);
  assert.ok(cable, `the picture comes over one of the two cables, not from ${used}`);
  const concerned = (await source(two)) === used ? 2 : 1;
  await Promise.all([one, two].map((viewer) => viewer.resetGap()));

  const began = Date.now();
  network.unplug(cable);
  await until("viewers that are given a new connection", 10_000, () => events(stage, "viewer-rebuilt").length >= concerned, () => stage.daemon.log.slice(-3000));
  stage.figure("from the loss of an address to the new offer", Date.now() - began, "ms");
  const back = await until("pictures over the other cable", 60_000, async () =>
    (await source(one)) === other.device && (await one.moves()), () => one.brief());
  stage.figure("the longest gap of who used it", back.longestGapMs, "ms");
  assert.equal(events(stage, "viewer-rebuilt").length, concerned, stage.daemon.log);
  assert.equal(events(stage, "viewer-ended").length, 0, stage.daemon.log);
  assert.ok(back.longestGapMs < 30_000, `${back.longestGapMs} ms without a picture`);
  await two.moves();

  // The cable that nobody uses is none of anybody's business.
  network.plug(cable);
  await changes(stage, 2);
  await one.resetGap();
  network.unplug(cable);
  await changes(stage, 3);
  const { longestGapMs } = await one.moves();
  stage.figure("the longest gap when an unused address goes", longestGapMs, "ms");
  assert.equal(events(stage, "viewer-rebuilt").length, concerned);
  assert.ok(longestGapMs < 2000, `${longestGapMs} ms`);
});

test("a default route that moves takes nobody's picture for long, and only theirs who were reached over it", async (t) => {
  const reason = lacking();
  if (reason) return t.skip(reason);
  const network = new DeviceNetwork(t);
  const stage = await set(t, network);
  const [first, second] = network.cables;

  // ICE would wait long for a better way that leads nowhere, so each has one only.
  network.faraway();
  network.admit(network.uplink);
  const near = await stage.watcher("near");
  const { device, port } = await way(near);
  assert.equal(device, network.uplink.device);
  network.defaultRoute(first);
  await changes(stage, 1);
  network.admit({ ...network.uplink, port }, first);
  const far = [await stage.watcher("far"), await stage.watcher("farther")];
  for (const viewer of far) assert.equal(await source(viewer), first.device);
  await Promise.all([near, ...far].map((viewer) => viewer.resetGap()));

  const began = Date.now();
  network.defaultRoute(second);
  await changes(stage, 2);
  network.admit({ ...network.uplink, port }, ...network.cables);
  stage.figure("from the move of the default route to its line in the journal", Date.now() - began, "ms");
  const back = await Promise.all(far.map((viewer) => until("a picture over the other cable", 60_000, async () =>
    (await source(viewer)) === second.device && (await viewer.moves({ ms: 60_000 })),
  async () => ({ ...(await viewer.brief()), log: stage.daemon.log.slice(-3000) }))));
  const longest = Math.max(...back.map((report) => report.longestGapMs));
  stage.figure("the longest gap of who was reached over the default route", longest, "ms");
  assert.ok(longest < 30_000, `${longest} ms without a picture`);

  const { longestGapMs } = await near.moves();
  stage.figure("the longest gap of who was not", longestGapMs, "ms");
  assert.ok(longestGapMs < 2000, `${longestGapMs} ms`);
  assert.deepEqual(await way(near), { device, port });
  // They were not waited for as others are who fall silent.
  assert.equal(events(stage, "viewer-rebuilt").length, far.length, stage.daemon.log);
  for (const line of events(stage, "viewer-rebuilt")) assert.match(line, /reason="address-lost"/);
  assert.equal(events(stage, "network-changed").length, 2, stage.daemon.log);
  for (const event of ["viewer-ended", "line-lost"]) assert.deepEqual(events(stage, event), []);
});

test("a line whose address goes away is dialled again at once over another", async (t) => {
  const reason = lacking();
  if (reason) return t.skip(reason);
  const network = new DeviceNetwork(t);
  const stage = await set(t, network);
  const [first, second] = [network.uplink, network.cables[0]];
  const began = Date.now();
  network.unplug(first);
  network.inside("route", "add", `${first.near}/32`, "via", second.near, "dev", second.inside);
  const id = await stage.daemon.live(stage.lobby, { before: stage.streamId, ms: 30_000 });
  assert.ok(id);
  stage.figure("from the loss of the line's address to the next stream", Date.now() - began, "ms");
  assert.match(stage.daemon.log, /reason="route"/);
});

test("ten seconds of silence are survived by the same connection, thirty by a new one", async (t) => {
  const reason = lacking();
  if (reason) return t.skip(reason);
  const network = new DeviceNetwork(t);
  const stage = await set(t, network);
  const viewer = await stage.watcher("patient");
  await viewer.moves({ times: 6 });

  for (const [seconds, limit] of [[10, 30_000], [30, 90_000]]) {
    await viewer.moves();
    await viewer.resetGap();
    network.silence();
    const dark = Date.now() + seconds * 1000;
    await until(`${seconds} s of silence`, seconds * 1000 + 5000, () => Date.now() >= dark);
    network.speak();
    const lit = Date.now();
    const back = await until("a picture again", limit, async () => {
      const before = (await viewer.report()).presented;
      await viewer.moves({ times: 1, ms: 5000 }).catch(() => {});
      const report = await viewer.report();
      return report.presented > before ? report : null;
    }, async () => ({ ...(await viewer.brief()), log: stage.daemon.log.slice(-3000) }));
    stage.figure(`a picture again after ${seconds} s of silence, from its end`, Date.now() - lit, "ms");
    stage.figure(`the longest gap with ${seconds} s of silence`, back.longestGapMs, "ms");
    assert.equal(events(stage, "viewer-ended").length, 0, stage.daemon.log);
    if (seconds === 10) assert.equal(events(stage, "viewer-rebuilt").length, 0, "the same connection");
    await viewer.moves({ times: 10 });
  }
});
