// Viewers that cannot reach the device: a real TURN server between two networks.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Coturn } from "./coturn.mjs";
import { ip, lacking, nft } from "./namespaces.mjs";
import { closeBrowser, Stage } from "./stage.mjs";
import { until } from "./until.mjs";

after(closeBrowser);

/** A network for the device alone, with lobby and TURN server at `near`. */
function deviceNetwork(t) {
  const name = `perch-${process.pid}`;
  const [outside, inside] = [`po${process.pid}`, `pi${process.pid}`];
  const third = process.pid % 250;
  const near = `10.231.${third}.1`;
  ip("netns", "add", name);
  t.after(() => ip("netns", "delete", name));
  ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name);
  ip("address", "add", `${near}/30`, "dev", outside);
  ip("link", "set", outside, "up");
  ip("-n", name, "address", "add", `10.231.${third}.2/30`, "dev", inside);
  ip("-n", name, "link", "set", inside, "up");
  ip("-n", name, "link", "set", "lo", "up");
  return { name, near, device: `10.231.${third}.2`, prefix: ["ip", "netns", "exec", name] };
}

/**
 * Lets UDP to and from one port only pass, as a strict firewall does. Both ways: where the viewer's own checks came
 * through and only the replies did not, libnice 0.1.21 would know the viewer as peer-reflexive before its candidate
 * is signaled, and then pairs it with no relay.
 */
function firewall(network, port) {
  nft(network.name, `table ip strict {
    chain output {
      type filter hook output priority 0; policy accept;
      udp dport != ${port} drop
    }
    chain input {
      type filter hook input priority 0; policy accept;
      udp sport != ${port} drop
    }
  }`);
}

const relayed = (stage) =>
  stage.lobby.sent("live:signal-ice", (r) => / typ relay/.test(r.payload.candidate?.candidate ?? ""));

test("a TURN server with short-lived credentials carries the picture between two networks", async (t) => {
  const reason = lacking(Coturn.installed() ? null : "coturn (apt-get install coturn)");
  if (reason) return t.skip(reason);
  const network = deviceNetwork(t);
  const coturn = await Coturn.start(network.near);
  t.after(() => coturn.stop());
  firewall(network, coturn.port);
  const server = { url: `turn:${network.near}:${coturn.port}?transport=udp`, username: "perch", secret_file: coturn.secretFile };
  const stage = await Stage.set(t, {
    lobby: { host: network.near },
    prefix: network.prefix,
    config: { ice: { servers: [server] } },
  });

  const viewer = await stage.page("beyond", { stun: `stun:${network.near}:${coturn.port}` });
  await viewer.watch();
  const [candidate] = await until("a relay candidate from the host", 20_000, () => {
    const found = relayed(stage);
    return found.length > 0 ? found : null;
  }, () => ({ log: stage.daemon.log.slice(-2000), coturn: coturn.log.slice(-2000) }));
  assert.equal(candidate.payload.to, viewer.id);
  assert.ok(candidate.payload.candidate.candidate.includes(network.near), "on the TURN server's address");

  const { firstFrameMs } = await viewer.firstFrame(30_000);
  stage.figure("first frame through TURN", firstFrameMs, "ms");
  await viewer.moves();
  const pair = await viewer.page.evaluate(async () => {
    const stats = [...(await window.page.pc.getStats()).values()];
    const chosen = stats.find((s) => s.type === "transport").selectedCandidatePairId;
    const remote = stats.find((s) => s.id === chosen).remoteCandidateId;
    return stats.find((s) => s.id === remote);
  });
  assert.equal(pair.address ?? pair.ip, network.near, `the picture comes from the relay: ${JSON.stringify(pair)}`);
  const [row] = (await stage.daemon.status()).viewers;
  assert.deepEqual([row.state, row.path], ["live", "relay"], "the host knows it, too");
  assert.ok(!stage.daemon.log.includes(coturn.secret), "no secret in the log");
  assert.deepEqual(await viewer.complaints(), []);
});
