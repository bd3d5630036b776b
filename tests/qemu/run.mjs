// The Debian package on an emulated machine: switched on with a browser outside that waits for its picture; with a wrong
// clock, a kernel's camera (vivid) that comes and goes, and a bad network: `node run.mjs [--write] [--only TEXT]`.
//
// Needs root, for the guest's root file system and network namespaces. PERCH_QEMU_KVM=1 uses KVM instead of emulation.

import { execFileSync } from "node:child_process";
import { appendFileSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";

import { Guest } from "../guest/guest.mjs";
import { install, layOver, makeSecrets } from "../guest/install.mjs";
import { Outside } from "../guest/outside.mjs";
import { ARTIFACTS, ROOT } from "../guest/paths.mjs";
import { Machine } from "../guest/qemu.mjs";
import { circumstances, conclude, guestModules, guestRoot, runCases } from "../guest/suite.mjs";
import { boot } from "./boot.mjs";
import { camera } from "./camera.mjs";
import { clock } from "./clock.mjs";
import { device } from "./device.mjs";
import { drivers, putTests } from "./drivers.mjs";
import { encoded } from "./encoded.mjs";
import { network } from "./network.mjs";

const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : null;
const secrets = makeSecrets();
const began = performance.now();
const seconds = () => Math.round((performance.now() - began) / 1000);

const base = guestRoot(ROOT, "--disk");
const root = path.join(base, "root");
const papers = [];
const outside = new Outside();
const chosen = (cases) => cases.filter(({ name }) => !only || name.includes(only));
const rows = [];
let booted = null;

/** What a guest said, for who looks into a failure. */
async function keepJournal(guest, name) {
  const { out } = await guest.attempt("journalctl -b --no-pager | tail -n 200; dmesg | tail -n 20");
  appendFileSync(path.join(ARTIFACTS, "qemu-failures.log"), `== ${name}\n${out}\n`);
}

/** Cases that share a machine, whose clock is wrong and which has no camera yet. */
async function onOneMachine(cases) {
  const settings = 'profile = "v4l2"\nwidth = 320\nheight = 180\nframerate = 10';
  const fill = (tree) => {
    install(tree, { root, secrets, camera: settings, lobby: outside.url });
    layOver(tree, guestModules(ROOT));
    putTests(tree);
  };
  const machine = await Machine.boot(base, fill, { rtc: "1970-01-01T00:00:00", outside });
  booted = ((Date.now() - machine.startedAt) / 1000).toFixed(0);
  const guest = new Guest(machine, { patience: 4, lobby: outside.url });
  try {
    // A single case finds the clock right and the camera there, which the first of all set right.
    if (only) await guest.run(`date -u -s @${Math.floor(Date.now() / 1000)} && modprobe vivid n_devs=1 node_types=0x1`);
    return await runCases(cases, guest, { onFailure: ({ name }) => keepJournal(guest, name) });
  } finally {
    await machine.stop();
  }
}

try {
  await outside.openLobby(secrets["lobby-secret"]);
  const onFailure = async () => console.error(readFileSync(path.join(ARTIFACTS, "qemu-console.log"), "utf8").slice(-1500));
  rows.push(...(await runCases(chosen(boot({ base, root, secrets, outside, papers, onFailure: keepJournal })), null, { onFailure })));
  const rest = chosen([...clock, ...camera, ...device, ...encoded, ...drivers, ...network]);
  if (rest.length > 0) rows.push(...(await onOneMachine(rest)));
} finally {
  await outside.close();
}

const installed = (name) => execFileSync("dpkg-query", [`--admindir=${root}/var/lib/dpkg`, "--show", "--showformat=${Version}", name], { encoding: "utf8" });
const [kernel] = readdirSync(path.join(root, "usr/lib/modules"));
const how = process.env.PERCH_QEMU_KVM ? "QEMU with KVM" : "an emulated amd64 machine (QEMU, TCG): times say nothing of a real one";
conclude(rows, {
  title: "On a machine of its own",
  about: `${circumstances("make test-qemu", `the Debian package in Debian 12 with Linux ${kernel} and systemd ${installed("systemd")} in ${how}`)} The picture is 320×180 at 10 fps, encoded by x264; the camera is vivid's. The lobby is outside; so is the viewer of the first two cases, Chromium; that of the others is in the guest. ${seconds()} s in all${booted ? `; the machine of the other cases takes commands after ${booted} s` : ""}.`,
  file: path.join(import.meta.dirname, "RESULTS.md"),
  more: papers.join(""),
});
