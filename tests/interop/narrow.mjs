// A network in which each viewer has a link of its own, as wide as a test wants it.
//
//   lobby (here) ── uplink ── device ── link 1 ── viewer 1 ── signaling 1 ── lobby (here)
//                                    └─ link 2 ── viewer 2 ── …
//
// The device and every viewer are in a network namespace of their own. Media has no other way than the links.

import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { CHROMIUM } from "./chromium.mjs";
import { ip, nft, tc } from "./namespaces.mjs";
import { Stage } from "./stage.mjs";
import { until } from "./until.mjs";
import { Browser } from "./viewer.mjs";

let networks = 0;

export class Links {
  /** @param {number} count of viewers */
  constructor(t, count) {
    networks += 1;
    this.tag = `${process.pid % 10000}${networks}`;
    this.device = this.#namespace(t, `perch-d${this.tag}`);
    this.prefix = ["ip", "netns", "exec", this.device];
    this.octet = (process.pid + networks) % 250;
    const uplink = this.#cable([null, `10.70.${this.octet}.1`], [this.device, `10.70.${this.octet}.2`], "u");
    this.near = `10.70.${this.octet}.1`;
    nft(this.device, `table inet uplink {
      chain output {
        type filter hook output priority 0; policy accept;
        oifname "${uplink[1]}" meta l4proto udp drop
      }
    }`);
    this.links = Array.from({ length: count }, (_, n) => this.#link(t, n));
    this.scripts = mkdtempSync(path.join(tmpdir(), "perch-links-"));
    t.after(() => rmSync(this.scripts, { recursive: true, force: true }));
  }

  #namespace(t, name) {
    ip("netns", "add", name);
    t.after(() => ip("netns", "delete", name));
    ip("-n", name, "link", "set", "lo", "up");
    return name;
  }

  /** A cable between two ends, each a namespace (null: this one) and an address; the names of its ends. */
  #cable([one, first], [other, second], letter) {
    const names = [`p${this.tag}${letter}a`, `p${this.tag}${letter}b`];
    ip("link", "add", names[0], "type", "veth", "peer", "name", names[1]);
    for (const [namespace, address, name] of [[one, first, names[0]], [other, second, names[1]]]) {
      const at = namespace ? ["-n", namespace] : [];
      if (namespace) ip("link", "set", name, "netns", namespace);
      ip(...at, "address", "add", `${address}/30`, "dev", name);
      ip(...at, "link", "set", name, "up");
    }
    return names;
  }

  #link(t, n) {
    const namespace = this.#namespace(t, `perch-v${this.tag}-${n}`);
    const base = (this.octet * 16 + n) % 65536;
    const net = (first) => `10.${first}.${base >> 6 & 255}.${(base & 63) * 4}`;
    const address = (first, host) => net(first).replace(/\d+$/, (last) => String(Number(last) + host));
    const [inside] = this.#cable([this.device, address(71, 1)], [namespace, address(71, 2)], `m${n}`);
    this.#cable([null, address(72, 1)], [namespace, address(72, 2)], `s${n}`);
    ip("-n", namespace, "route", "add", `${this.near}/32`, "via", address(72, 1));
    // The device's own end, for viewers who reach its lobby over their link.
    return { namespace, inside, device: address(71, 1), page: address(72, 1) };
  }

  /** From now on so many kbit/s go to viewer `n`; what waits for longer than `queue` ms is dropped. */
  limit(n, kbit, { queue = 200 } = {}) {
    const { inside } = this.links[n];
    tc(this.device, "qdisc", "replace", "dev", inside, "root", "tbf", "rate", `${kbit}kbit`, "burst", "5kb", "latency", `${queue}ms`);
  }

  unlimit(n) {
    tc(this.device, "qdisc", "del", "dev", this.links[n].inside, "root");
  }

  /** From now on so many of a hundred packets to viewer `n` are lost. */
  lose(n, percent) {
    nft(this.links[n].namespace, `table inet loss {
      chain input {
        type filter hook input priority 0; policy accept;
        meta l4proto udp numgen random mod 100 < ${percent} drop
      }
    }`);
  }

  /** The program that starts the browser of viewer `n` on its side of the link. */
  browser(n) {
    const script = path.join(this.scripts, `chromium-${n}`);
    writeFileSync(script, `#!/bin/sh\nexec ip netns exec ${this.links[n].namespace} ${CHROMIUM} "$@"\n`);
    chmodSync(script, 0o755);
    return script;
  }
}

/**
 * A stage in such a network, and so many viewers who have their first frame, each in a browser of its own. `more` is for
 * `Stage.set`.
 */
export async function narrowStage(t, count, config, more = {}) {
  const links = new Links(t, count);
  const stage = await Stage.set(t, { lobby: { host: links.near }, prefix: links.prefix, config, ...more });
  // GLib's complaints are bugs, ours mostly.
  t.after(() => assert.deepEqual(stage.daemon.lines(/CRITICAL|WARNING \*\*/), []));
  const viewers = [];
  for (let n = 0; n < count; n += 1) {
    const browser = await Browser.start({ program: links.browser(n), near: links.links[n].page });
    t.after(() => browser.stop());
    const viewer = await browser.viewer(stage.lobby, `viewer ${n + 1}`);
    await viewer.watch();
    await viewer.firstFrame();
    viewers.push(viewer);
  }
  return { stage, links, viewers };
}

/**
 * What a viewer sees over the next `seconds`; `look` is shown its figures, and how many seconds have passed, about four times
 * in each.
 */
export async function watch(viewer, seconds, look = () => {}) {
  const video = async () => (await viewer.report()).video;
  await viewer.resetGap();
  const first = await video();
  let last = first;
  await until(`${seconds} s of ${viewer.name}`, seconds * 1000 + 20_000, async () => {
    last = (await video()) ?? last; // a browser that is busy may have no statistics at the moment
    look(last, (last.at - first.at) / 1000);
    return last.at - first.at >= seconds * 1000;
  }, null, 250);
  return {
    fps: ((last.decoded - first.decoded) * 1000) / (last.at - first.at),
    lost: last.lost - first.lost,
    gap: (await viewer.report()).longestGapMs,
    height: last.height,
    freezes: last.freezes - first.freezes,
    frozen: (last.frozenS - first.frozenS) * 1000,
  };
}

/** Waits until the viewer's picture has so many lines; how many ms that took. */
export async function height(viewer, lines, ms = 60_000) {
  const began = Date.now();
  const has = async () => (await viewer.report()).video?.height === lines;
  await until(`${viewer.name} to be sent ${lines} lines`, ms, has, () => viewer.brief());
  return Date.now() - began;
}
