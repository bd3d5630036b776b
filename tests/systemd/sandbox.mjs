// What the daemon may not do, asked of the kernel and of systemd.

import { check } from "../guest/suite.mjs";
import { analyzed, EXPOSURE } from "../guest/unit.mjs";

/** @type {import("../guest/suite.mjs").Case[]} */
export const sandbox = [
  {
    name: "systemd-analyze",
    holds: `verify says nothing; security scores at most ${EXPOSURE} on the running unit`,
    run: async (guest) => `silent; ${(await analyzed(guest)).toFixed(1)}`,
  },
  {
    name: "the process",
    holds: "its own user, no capability, no new privileges, a system call filter",
    run: async (guest) => {
      const status = await guest.run(`cat /proc/${await guest.pid()}/status`);
      const field = (name) => new RegExp(`^${name}:\\s+(.*)$`, "m").exec(status)[1];
      const uid = await guest.run("id -u perch");
      check(field("Uid").split("\t").every((id) => id === uid), `it runs as ${field("Uid")}`);
      for (const set of ["CapEff", "CapPrm", "CapBnd", "CapAmb"]) check(/^0+$/.test(field(set)), `${set} is ${field(set)}`);
      check(field("NoNewPrivs") === "1" && field("Seccomp") === "2", `NoNewPrivs ${field("NoNewPrivs")}, Seccomp ${field("Seccomp")}`);
      return `uid ${uid}, CapBnd 0, NoNewPrivs 1, Seccomp 2 (${field("Seccomp_filters")} filters), ${field("Threads")} threads`;
    },
  },
  {
    name: "the file system",
    holds: "read-only but for its state and its cache; no homes, no others' processes",
    run: async (guest) => {
      const [uid, gid] = (await guest.run("id -u perch; id -g perch")).split("\n");
      const inside = (command) => guest.attempt(`nsenter --target ${pid} --mount --root --wd --setuid ${uid} --setgid ${gid} /bin/sh -c '${command}'`);
      const pid = await guest.pid();
      for (const place of ["/usr", "/etc/perch", "/var", "/var/log", "/opt", "/run"]) {
        const { code } = await inside(`: >${place}/perch-was-here`);
        check(code !== 0, `it can write to ${place}`);
      }
      const root = await guest.attempt(`nsenter --target ${pid} --mount --root --wd /bin/sh -c ': >/usr/root-was-here'`);
      check(root.code !== 0, "root itself could write to its /usr");
      for (const place of ["/var/lib/perch", "/var/cache/perch", "/tmp"]) {
        const { code, out } = await inside(`: >${place}/perch-was-here && rm ${place}/perch-was-here`);
        check(code === 0, `it cannot write to ${place}: ${out}`);
      }
      const processes = await inside("ls -d /proc/[0-9]* | wc -l");
      const all = Number(await guest.run("ls -d /proc/[0-9]* | wc -l"));
      check(Number(processes.out) < all, `it sees ${processes.out} of ${all} processes`);
      return `writes to its state, its cache and its own /tmp only; sees ${processes.out.trim()} of ${all} processes`;
    },
  },
];
