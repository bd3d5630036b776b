// A guest in QEMU: a whole emulated machine with Debian's own kernel, its drivers and its devices.

import { execFileSync, spawn } from "node:child_process";
import { createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

import { killAtExit } from "../interop/children.mjs";
import { until } from "../interop/until.mjs";
import { into } from "./install.mjs";
import { Outside } from "./outside.mjs";
import { ARTIFACTS } from "./paths.mjs";

/** Where the guest's end of the command channel is. */
const PORT = "/dev/virtio-ports/org.perch.commands";
const PORT_UNIT = "dev-virtio\\x2dports-org.perch.commands.device";

/** A second in /proc/PID/stat, on every Linux that has x86. */
const TICKS = 100;

/** Takes one command a line, as `NUMBER SECONDS SCRIPT`, and answers `NUMBER CODE OUTPUT`; texts in base64. */
const AGENT = `#!/bin/bash
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
Requires=${PORT_UNIT}
After=${PORT_UNIT}
[Service]
ExecStart=/usr/local/sbin/perch-agent
Environment=LANG=C.UTF-8
[Install]
WantedBy=multi-user.target
`;

const UPLINK_UNIT = `
[Unit]
Description=The network card's address
DefaultDependencies=no
Requires=sys-subsystem-net-devices-eth0.device
After=sys-subsystem-net-devices-eth0.device
Before=network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip address add ${Outside.GUEST}/24 dev eth0
ExecStart=ip link set eth0 up
ExecStart=ip route add default via ${Outside.ADDRESS}
[Install]
WantedBy=network-online.target
`;

export class Machine {
  takesCommands = false;
  #number = 0;
  #waiting = new Map();

  /**
   * Starts the disk that `scripts/guest-root --disk` made, with what `fill` puts over it, and waits until it takes commands.
   * @param {string} base the directory with root.ext4, vmlinuz and initrd
   * @param {(tree: string) => void} fill
   * @param {{rtc?: string, outside?: Outside}} options `rtc`: what the clock says at boot, such as "1970-01-01T00:00:00";
   *   `outside`: what the network card leads to
   */
  static async boot(base, fill, options = {}) {
    const self = Machine.start(base, fill, options);
    await self.ready();
    return self;
  }

  /** The same without the wait. */
  static start(base, fill, { rtc = "utc", outside = null } = {}) {
    const self = new Machine();
    self.directory = mkdtempSync(path.join(tmpdir(), "perch-guest-"));
    process.once("exit", () => rmSync(self.directory, { recursive: true, force: true }));
    self.#makeInstallDisk(fill, outside);
    self.#spawn(base, rtc, outside);
    return self;
  }

  /** Waits until it takes commands. */
  async ready() {
    try {
      await this.#connect();
      await until("the guest's agent", 600_000, () => this.#greet(), () => this.console.slice(-1500), 500);
      this.takesCommands = true;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  #makeInstallDisk(fill, outside) {
    const tree = path.join(this.directory, "install");
    mkdirSync(tree);
    fill(tree);
    const { put, want } = into(tree);
    put("usr/local/sbin/perch-agent", AGENT, 0o755);
    put("etc/systemd/system/perch-agent.service", AGENT_UNIT);
    want("multi-user.target", "perch-agent.service", "/etc/systemd/system");
    if (outside) {
      put("etc/systemd/system/uplink.service", UPLINK_UNIT);
      want("network-online.target", "uplink.service", "/etc/systemd/system");
    }
    this.disk = path.join(this.directory, "install.ext4");
    execFileSync("mke2fs", ["-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, this.disk, "600M"], { stdio: "pipe" });
    rmSync(tree, { recursive: true });
  }

  #spawn(base, rtc, outside) {
    mkdirSync(ARTIFACTS, { recursive: true });
    const log = createWriteStream(path.join(ARTIFACTS, "qemu-console.log"));
    this.console = "";
    this.socket = path.join(this.directory, "commands");
    // KVM only where it is asked for: it may open here and then hang the guest.
    const accelerator = process.env.PERCH_QEMU_KVM ? ["-accel", "kvm", "-cpu", "host"] : ["-accel", "tcg,thread=multi", "-cpu", "Westmere"];
    const drive = (file) => ["-drive", `if=virtio,format=raw,readonly=on,file=${file}`];
    const card = outside ? ["-netdev", `tap,id=uplink,ifname=${outside.tap},script=no,downscript=no`, "-device", "virtio-net-pci,netdev=uplink"] : [];
    const [program, ...args] = [
      ...(outside?.prefix ?? []), "qemu-system-x86_64",
      ...accelerator, "-machine", "q35", "-smp", "2", "-m", "1536", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-rtc", `base=${rtc}`,
      "-kernel", path.join(base, "vmlinuz"), "-initrd", path.join(base, "initrd"),
      "-append", "console=ttyS0 quiet net.ifnames=0 panic=-1 systemd.show_status=0 mitigations=off no_timer_check",
      ...drive(path.join(base, "root.ext4")), ...drive(this.disk),
      "-device", "virtio-rng-pci", ...card, "-device", "virtio-serial", "-chardev", `socket,id=commands,path=${this.socket},server=on,wait=off`,
      "-device", "virtserialport,chardev=commands,name=org.perch.commands", "-serial", "stdio",
    ];
    this.startedAt = Date.now();
    this.child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
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
    this.greeting ??= this.execute("true", 570);
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

  /** Seconds of the host's processors that it took so far. */
  cpuSeconds() {
    const fields = readFileSync(`/proc/${this.child.pid}/stat`, "utf8").replace(/^.*\) /s, "").split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  }

  async stop() {
    if (this.child && this.child.exitCode === null && this.child.pid) {
      this.child.kill("SIGKILL"); // its disks are read-only: nothing is lost
      await this.gone;
    }
    this.channel?.destroy();
  }
}
