// What the unit lets the daemon have, as this kernel keeps it.

import { check } from "../guest/suite.mjs";
import { node } from "./camera.mjs";

const GROUP = "/sys/fs/cgroup/system.slice/perch.service";

/** @type {import("../guest/suite.mjs").Case[]} */
export const device = [
  {
    name: "limits",
    holds: "memory, tasks and descriptors are bounded, and far from their bounds",
    run: async (guest) => {
      const [high, most, memory, allowed, tasks] = (await guest.run(`cd ${GROUP} && cat memory.high memory.max memory.current pids.max pids.current`)).split("\n").map(Number);
      const files = Number(/^Max open files\s+(\d+)/m.exec(await guest.run(`cat /proc/${await guest.pid()}/limits`))[1]);
      const { MemoryHigh, MemoryMax, TasksMax, LimitNOFILE } = await guest.show("perch", "MemoryHigh", "MemoryMax", "TasksMax", "LimitNOFILE");
      check(high === Number(MemoryHigh) && most === Number(MemoryMax) && allowed === Number(TasksMax) && files === Number(LimitNOFILE), `the kernel has ${high}, ${most}, ${allowed}, ${files}`);
      check(memory < high / 2 && tasks < allowed / 4, `it uses ${memory} bytes and ${tasks} tasks`);
      return `${Math.round(memory / 2 ** 20)} of ${most / 2 ** 20} MB, ${tasks} of ${allowed} tasks, ${files} descriptors`;
    },
  },
  {
    name: "devices",
    holds: "the camera can be opened, other devices cannot, whatever their permissions",
    run: async (guest) => {
      const [pid, video] = [await guest.pid(), await node(guest)];
      check(Number(await guest.run(`ls -l /proc/${pid}/fd | grep -c ${video}`)) > 0, "it does not hold the camera");
      // As root in its cgroup and with its view of the file system: what says no is the unit.
      const open = (file) => guest.attempt(`echo $$ >${GROUP}/cgroup.procs && exec nsenter --target ${pid} --mount --root --wd head -c 0 ${file}`);
      const camera = await open(video);
      check(camera.code === 0, `the camera is closed to it: ${camera.out}`);
      for (const file of ["/dev/vda", "/dev/kmsg", "/dev/mem"]) {
        const { code, out } = await open(file);
        check(code !== 0 && /not permitted|Permission denied/.test(out), `${file}: ${code} ${out}`);
      }
      return `${video} open; /dev/vda, /dev/kmsg, /dev/mem: closed, even to root in its cgroup`;
    },
  },
  {
    name: "too much memory",
    holds: "ends the daemon, not the machine, and it is started again",
    run: (guest) =>
      guest.withDropIn("[Service]\nMemoryHigh=infinity\nMemoryMax=8M\nMemorySwapMax=0\nRestartSec=100ms\n", async () => {
        await guest.until("a restart", 60, async () => (await guest.restarts()) > 0);
        const said = await guest.journal("_PID=1 -u perch -g oom-kill", 0);
        check(said.length > 0, "it did not end for its memory");
        return said[0].MESSAGE;
      }),
  },
];
