// The package for arm64, emulated: `node run.mjs [--write]`. Lobby and viewer run as they are, outside.
//
// Needs root, for the emulated tree; scripts/install-needs emulate installs the rest. What is slow here says nothing of
// a board: a small picture, long deadlines, and no claim of latency.

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

import { Program } from "../browser/program.mjs";
import { commands } from "../deb/document.mjs";
import { makeSecrets } from "../guest/install.mjs";
import { LOBBY, ROOT, SWARM } from "../guest/paths.mjs";
import { check, circumstances, conclude, guestRoot, runCases } from "../guest/suite.mjs";
import { Board } from "./board.mjs";

/** Seconds that the viewer watches. */
const WATCHES = 20;
const FRAMERATE = 10;

const settings = (lobby) => `
[stream]
title = "Porch"
[camera]
profile = "test"
width = 320
height = 180
framerate = ${FRAMERATE}
[encoder]
bitrate = 200000
second_rendition = false
[lobby]
url = "${lobby}"
[lobby.auth]
secret_file = "lobby-secret"
subject = "porch"
`;

const began = performance.now();
// What the page says about making it has been done by whoever called this: `make test-arm64`.
const [make] = commands(path.join(ROOT, "docs/install.md")).get("For arm64, on another machine");
if (make.trim() !== "make deb-arm64") throw new Error(`docs/install.md makes the package with: ${make}`);
const deb = execFileSync("scripts/make-deb", ["aarch64-unknown-linux-gnu"], { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim().split("\n").at(-1);
const secret = makeSecrets()["lobby-secret"];
const board = new Board(path.join(guestRoot(ROOT, "--arm64"), "root"));
const lobby = new Program(LOBBY, ["--listen", "127.0.0.1:0"], { env: { PERCH_LOBBY_SECRET: secret }, hint: "make programs" });
let daemon = null;

/** @type {import("../guest/suite.mjs").Case[]} */
const cases = [
  {
    name: "install",
    holds: "dpkg finds everything that the package depends on, and configures it",
    run: async () => {
      copyFileSync(deb, path.join(board.tree, "root/perch.deb"));
      board.run("dpkg", "--install", "/root/perch.deb");
      const shown = board.run("dpkg-query", "--show", "--showformat=${Package} ${Version} ${Architecture} ${db:Status-Status}", "perch");
      check(/^perch \S+ arm64 installed$/.test(shown), shown);
      return shown;
    },
  },
  {
    name: "perch --version",
    holds: "runs, with arm64's GStreamer",
    run: async () => {
      const machine = board.run("uname", "-m");
      const out = board.run("perch", "--version");
      check(machine === "aarch64" && /^perch \S+ \(GStreamer 1\./.test(out), `${machine}: ${out}`);
      return `${out} on ${machine}`;
    },
  },
  {
    name: "perch devices",
    holds: "finds the encoders, and every element that a viewer's branch needs",
    run: async () => {
      const out = board.run("perch", "devices");
      check(/x264/.test(out) && /v4l2/.test(out), out);
      return out.split("\n").find((line) => line.includes("x264")).trim();
    },
  },
  {
    name: "perch check",
    holds: "settings and installation are good",
    run: async () => {
      const { url } = JSON.parse((await lobby.says(/^\{.*\}$/m))[0]);
      mkdirSync(path.join(board.tree, "etc/perch/conf.d"), { recursive: true });
      writeFileSync(path.join(board.tree, "etc/perch/conf.d/10-site.toml"), settings(url));
      writeFileSync(path.join(board.tree, "etc/perch/lobby-secret"), `${secret}\n`, { mode: 0o600 });
      const out = board.run("perch", "check");
      check(/^ok$/m.test(out), out);
      return /^picture.*$/m.exec(out)[0];
    },
  },
  {
    name: "live",
    holds: "the test picture is encoded, and the lobby has it",
    run: async () => {
      daemon = board.start("perch", "run");
      const since = performance.now();
      await daemon.says(/event="line-live"/, 120_000);
      await daemon.says(/event="camera-live"/, 120_000);
      return `after ${((performance.now() - since) / 1000).toFixed(1)} s`;
    },
  },
  {
    name: "a viewer",
    holds: "is offered a connection, and sees frames",
    run: async () => {
      const { url } = JSON.parse((await lobby.says(/^\{.*\}$/m))[0]);
      const file = path.join(board.directory, "lobby-secret");
      writeFileSync(file, secret, { mode: 0o600 });
      const viewer = new Program(SWARM, ["watch", "--lobby", url, "--secret-file", file, "--seconds", String(WATCHES)], { hint: "make programs" });
      const report = JSON.parse((await viewer.says(/^\{[\s\S]*^\}$|^\{.*\}$/m, (WATCHES + 120) * 1000))[0]);
      check(report.failed === 0, `${report.failed} failed: ${viewer.log}`);
      // Half of them: here every instruction costs ten.
      check(report.frames >= (WATCHES * FRAMERATE) / 2, `${report.frames} frames in ${WATCHES} s`);
      await daemon.says(/event="viewer-live"/);
      return `${report.frames} frames in ${WATCHES} s, ${report.lost_packets} packets lost`;
    },
  },
  {
    name: "SIGTERM",
    holds: "ends it in order",
    run: async () => {
      const { code } = await daemon.stop();
      check(code === 0, `it ended with ${code}: ${daemon.log.slice(-500)}`);
      check(!/panicked|ERROR|WARN/.test(daemon.log), daemon.log);
      return "exit 0; neither warning nor error in its log";
    },
  },
];

try {
  const rows = await runCases(cases, null, {
    onFailure: async () => console.error(daemon?.log.slice(-3000) ?? ""),
  });
  conclude(rows, {
    title: "On arm64, emulated",
    about: `${circumstances("make test-arm64", `${path.basename(deb)} in Debian 12 for arm64 under qemu-user`)} All of it in ${Math.round((performance.now() - began) / 1000)} s.`,
    file: path.join(import.meta.dirname, "RESULTS.md"),
  });
} finally {
  await daemon?.stop();
  await lobby.stop();
  board.remove();
}
