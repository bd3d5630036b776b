// Perch as an installed service on an emulated machine with a kernel's camera (vivid), whose clock is
// wrong at boot: `node run.mjs [--write] [--only TEXT]`.
//
// Needs root, for the guest's root file system. PERCH_QEMU_KVM=1 uses KVM instead of emulation.

import { spawn } from "node:child_process";
import { appendFileSync, mkdirSync } from "node:fs";
import path from "node:path";

import { killAtExit } from "../interop/children.mjs";
import { Guest } from "../guest/guest.mjs";
import { install, makeSecrets } from "../guest/install.mjs";
import { ARTIFACTS, LOBBY, ROOT } from "../guest/paths.mjs";
import { Machine } from "../guest/qemu.mjs";
import { circumstances, conclude, guestRoot, runCases } from "../guest/suite.mjs";
import { camera } from "./camera.mjs";
import { clock } from "./clock.mjs";
import { device } from "./device.mjs";
import { network } from "./network.mjs";

const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : null;
const secrets = makeSecrets();
const began = performance.now();
const seconds = () => Math.round((performance.now() - began) / 1000);

/** The lobby is another machine, with a clock of its own: the host's, which the guest reaches over user networking. */
async function startLobby() {
  const lobby = spawn(LOBBY, ["--listen", "127.0.0.1:0", "--until-eof"], {
    env: { ...process.env, PERCH_LOBBY_SECRET: secrets["lobby-secret"] },
    stdio: ["pipe", "pipe", "inherit"],
  });
  killAtExit(lobby);
  const line = await new Promise((resolve, reject) => {
    lobby.stdout.setEncoding("utf8").once("data", resolve);
    lobby.once("exit", (code) => reject(new Error(`the lobby ended with ${code}`)));
  });
  return { lobby, url: `http://10.0.2.2:${new URL(JSON.parse(line).url).port}` };
}

const base = guestRoot(ROOT, "--disk");
const { lobby, url } = await startLobby();
const settings = 'profile = "v4l2"\nwidth = 320\nheight = 180\nframerate = 10';
const machine = await Machine.boot(base, (tree) => install(tree, { secrets, camera: settings, lobby: url }), { rtc: "1970-01-01T00:00:00" });
const booted = seconds();
const guest = new Guest(machine, { patience: 4, lobby: url });
const onFailure = async ({ name }) => {
  const { out } = await guest.attempt("journalctl -b --no-pager | tail -n 200; dmesg | tail -n 20");
  mkdirSync(ARTIFACTS, { recursive: true });
  appendFileSync(path.join(ARTIFACTS, "qemu-failures.log"), `== ${name}\n${out}\n`);
};
try {
  const version = (await guest.run("systemctl --version")).split("\n")[0];
  const kernel = await guest.run("uname -r");
  // A single case finds the clock right and the camera there, which the first of all set right.
  if (only) await guest.run(`date -u -s @${Math.floor(Date.now() / 1000)} && modprobe vivid n_devs=1 node_types=0x1`);
  const rows = await runCases([...clock, ...camera, ...device, ...network], guest, { only, onFailure });
  const how = process.env.PERCH_QEMU_KVM ? "QEMU with KVM" : "an emulated amd64 machine (QEMU, TCG): times say nothing of a real one";
  conclude(rows, {
    title: "With a kernel's camera",
    about: `${circumstances("make test-qemu", `Debian 12 with Linux ${kernel} and ${version} in ${how}`)} The camera is vivid's, 320x180 at 10 fps, encoded by x264; the viewer is in the same guest. ${seconds()} s in all, of which ${booted} s to boot.`,
    file: path.join(import.meta.dirname, "RESULTS.md"),
  });
} finally {
  await machine.stop();
  lobby.stdin.end();
}
