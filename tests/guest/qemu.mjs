// A guest in QEMU: a whole emulated machine with Debian's own kernel, its drivers and its devices.

import { execFileSync, spawn } from "node:child_process";
import { createWriteStream, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

import { killAtExit } from "../interop/children.mjs";
import { until } from "../interop/until.mjs";
import { ARTIFACTS } from "./paths.mjs";

/** Where the guest's end of the command channel is. */
const PORT = "/dev/virtio-ports/org.perch.commands";

/** Takes one command a line, as `NUMBER SECONDS SCRIPT`, and answers `NUMBER CODE OUTPUT`; texts in base64. */
const AGENT = `#!/bin/bash
until [ -e ${PORT} ] && [ -e /sys/class/net/eth0 ]; do sleep 0.2; done
# QEMU's user network: the host is 10.0.2.2.
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
exec 3<>${PORT}
while read -r number seconds script <&3; do
	(
		out=$(timeout --kill-after=5 "$seconds" bash -c "$(base64 -d <<<"$script")" 2>&1 3>&-)
		code=$?
		printf '%s %s %s\\n' "$number" "$code" "$(base64 -w0 <<<"$out")" >&3
	) &
done
`;

const AGENT_UNIT = `
[Unit]
Description=Runs the test's commands
[Service]
ExecStart=/usr/local/sbin/perch-agent
Environment=LANG=C.UTF-8
[Install]
WantedBy=multi-user.target
`;

export class Machine {
  #number = 0;
  #waiting = new Map();

  /**
   * Boots the disk that `scripts/guest-root --disk` made, with what `fill` puts over it.
   * @param {string} base the directory with root.ext4, vmlinuz and initrd
   * @param {(tree: string) => void} fill
   * @param {{rtc?: string}} options `rtc`: what the clock says at boot, such as "1970-01-01T00:00:00"
   */
  static async boot(base, fill, { rtc = "utc" } = {}) {
    const self = new Machine();
    self.directory = mkdtempSync(path.join(tmpdir(), "perch-guest-"));
    process.once("exit", () => rmSync(self.directory, { recursive: true, force: true }));
    try {
      self.#makeInstallDisk(fill);
      self.#spawn(base, rtc);
      await self.#connect();
      await until("the guest's agent", 180_000, () => self.#greet(), () => self.console.slice(-1500), 500);
    } catch (error) {
      await self.stop();
      throw error;
    }
    return self;
  }

  #makeInstallDisk(fill) {
    const tree = path.join(this.directory, "install");
    mkdirSync(tree);
    fill(tree);
    const put = (file, text, mode) => {
      mkdirSync(path.dirname(path.join(tree, file)), { recursive: true });
      writeFileSync(path.join(tree, file), text, { mode });
    };
    put("usr/local/sbin/perch-agent", AGENT, 0o755);
    put("etc/systemd/system/perch-agent.service", AGENT_UNIT, 0o644);
    execFileSync("ln", ["-s", "/etc/systemd/system/perch-agent.service", path.join(tree, "etc/systemd/system/multi-user.target.wants/")]);
    this.disk = path.join(this.directory, "install.ext4");
    execFileSync("mke2fs", ["-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, this.disk, "600M"], { stdio: "pipe" });
  }

  #spawn(base, rtc) {
    mkdirSync(ARTIFACTS, { recursive: true });
    const log = createWriteStream(path.join(ARTIFACTS, "qemu-console.log"));
    this.console = "";
    this.socket = path.join(this.directory, "commands");
    // KVM only where it is asked for: it may open here and then hang the guest.
    const accelerator = process.env.PERCH_QEMU_KVM ? ["-accel", "kvm", "-cpu", "host"] : ["-accel", "tcg,thread=multi", "-cpu", "Westmere"];
    const drive = (file) => ["-drive", `if=virtio,format=raw,readonly=on,file=${file}`];
    this.child = spawn("qemu-system-x86_64", [
      ...accelerator, "-machine", "q35", "-smp", "2", "-m", "1536", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-rtc", `base=${rtc}`,
      "-kernel", path.join(base, "vmlinuz"), "-initrd", path.join(base, "initrd"),
      "-append", "console=ttyS0 quiet net.ifnames=0 panic=-1 systemd.show_status=0 mitigations=off",
      ...drive(path.join(base, "root.ext4")), ...drive(this.disk),
      "-device", "virtio-rng-pci", "-netdev", "user,id=uplink", "-device", "virtio-net-pci,netdev=uplink", "-device", "virtio-serial", "-chardev", `socket,id=commands,path=${this.socket},server=on,wait=off`,
      "-device", "virtserialport,chardev=commands,name=org.perch.commands", "-serial", "stdio",
    ], { stdio: ["ignore", "pipe", "pipe"] });
    killAtExit(this.child);
    this.gone = new Promise((resolve) => {
      this.child.once("error", (error) => resolve({ code: null, error }));
      this.child.once("close", (code) => resolve({ code }));
    });
    for (const out of [this.child.stdout, this.child.stderr]) {
      out.setEncoding("utf8").on("data", (text) => {
        this.console += text;
        log.write(text);
      });
    }
  }

  async #connect() {
    await until("QEMU", 20_000, () => existsSync(this.socket), () => this.console);
    this.channel = createConnection(this.socket).setEncoding("utf8");
    let rest = "";
    this.channel.on("data", (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const [number, code, out] = line.split(" ");
        this.#waiting.get(Number(number))?.({ code: Number(code), out: Buffer.from(out ?? "", "base64").toString() });
        this.#waiting.delete(Number(number));
      }
    });
    this.channel.on("error", () => {}); // the guest's end is told by the process
  }

  /** What is written before the agent listens waits for it in the channel. */
  async #greet() {
    if (this.child.exitCode !== null) throw new Error(`QEMU ended with ${this.child.exitCode}:\n${this.console.slice(-2000)}`);
    this.greeting ??= this.execute("true", 170);
    return Promise.race([this.greeting, new Promise((resolve) => setTimeout(resolve, 400, null))]);
  }

  /** Runs a shell script as root inside. */
  execute(script, seconds) {
    const number = (this.#number += 1);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer within ${seconds + 30} s: ${script}`)), (seconds + 30) * 1000);
      this.#waiting.set(number, ({ code, out }) => {
        clearTimeout(timer);
        if (code === 124 || code === 137) reject(new Error(`not done after ${seconds} s: ${script}\n${out}`));
        else resolve({ code, out });
      });
      this.channel.write(`${number} ${seconds} ${Buffer.from(script).toString("base64")}\n`);
    });
  }

  async stop() {
    if (this.child && this.child.exitCode === null && this.child.pid) {
      this.child.kill("SIGKILL"); // its disks are read-only: nothing is lost
      await this.gone;
    }
    this.channel?.destroy();
  }
}
