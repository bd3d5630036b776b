// A real TURN server: Debian's coturn with short-lived credentials from a shared secret.

import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { killAtExit } from "./children.mjs";
import { until } from "./until.mjs";

async function freePort(address) {
  const socket = createSocket("udp4");
  socket.bind(0, address);
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  return port;
}

export class Coturn {
  log = "";
  secret = randomBytes(16).toString("hex");

  static installed() {
    return spawnSync("turnserver", ["--help"]).error === undefined;
  }

  static async start(address) {
    const self = new Coturn();
    self.dir = await mkdtemp(path.join(tmpdir(), "perch-coturn-"));
    self.secretFile = path.join(self.dir, "secret");
    await writeFile(self.secretFile, self.secret, { mode: 0o600 });
    self.port = await freePort(address);
    self.child = spawn("turnserver", [
      "-n", "--no-cli", "--no-tls", "--no-dtls", "--verbose",
      `--listening-ip=${address}`, `--listening-port=${self.port}`, `--relay-ip=${address}`,
      "--use-auth-secret", `--static-auth-secret=${self.secret}`, "--realm=perch.test",
      `--userdb=${path.join(self.dir, "turndb")}`, `--pidfile=${path.join(self.dir, "pid")}`, "--log-file=stdout",
    ], { stdio: ["ignore", "pipe", "pipe"] });
    killAtExit(self.child);
    for (const out of [self.child.stdout, self.child.stderr]) out.setEncoding("utf8").on("data", (text) => (self.log += text));
    self.gone = once(self.child, "exit");
    await until("coturn to listen", 20_000, () => self.log.includes(`UDP listener opened on: ${address}:${self.port}`), () => self.log.slice(-2000));
    return self;
  }

  async stop() {
    this.child.kill("SIGKILL"); // its orderly end takes seconds
    await this.gone;
    await rm(this.dir, { recursive: true, force: true });
  }
}
