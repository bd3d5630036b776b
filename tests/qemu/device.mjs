// What the unit lets the daemon have, as this kernel keeps it.

import { examined, onlyTurnIsAway, told } from "../guest/doctor.mjs";
import { check } from "../guest/suite.mjs";
import { analyzed, CREDENTIALS, EXPOSURE, usesCredentials } from "../guest/unit.mjs";
import { node, stolen } from "./camera.mjs";

/** The daemon has the camera open, and gives its picture. */
async function holdsCamera(guest) {
  await guest.says(/^live as .*fps/, 60);
  const [pid, video] = [await guest.pid(), await node(guest)];
  check(Number(await guest.run(`ls -l /proc/${pid}/fd | grep -c ${video}`)) > 0, "it does not hold the camera");
  return { pid, video };
}

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
      const { pid, video } = await holdsCamera(guest);
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
    name: "the unit with its camera",
    holds: `while it has the camera open: systemd-analyze verify says nothing, security scores at most ${EXPOSURE}, and it is live by its credentials`,
    run: async (guest) => {
      const { video } = await holdsCamera(guest);
      const score = await analyzed(guest);
      await usesCredentials(guest);
      return `${video} open; silent; ${score.toFixed(1)}; ${CREDENTIALS.join(", ")}: root's, handed over`;
    },
  },
  {
    name: "perch doctor and a camera",
    holds: "it really encodes from a free camera, says who has a busy one, and asks the daemon of its own",
    run: async (guest) => {
      const { video } = await holdsCamera(guest);
      const daemons = await examined(guest);
      onlyTurnIsAway(daemons);
      const [ours] = daemons.of("camera");
      check(ours.what.includes(`${video} is there, perch may open it, in use by perch itself`), told([ours]));

      await guest.run("systemctl stop perch");
      let free, busy;
      try {
        free = await examined(guest);
        busy = await stolen(guest, () => examined(guest));
      } finally {
        await guest.run("systemctl start --no-block perch");
      }
      const idle = ({ of }) => [...of("camera"), ...of("encoder")];
      check(idle(free).every(({ level }) => level === "ok"), told(idle(free)));
      check(free.of("camera")[0].what.includes(`${video} is there, perch may open it, free`), told(free.of("camera")));
      const [[holder], [encoder]] = [busy.of("camera"), busy.of("encoder")];
      check(holder.level === "note" && /in use by v4l2-ctl \(pid \d+\)/.test(holder.what), told([holder]));
      check(encoder.level === "fault" && /busy/i.test(encoder.what), told([encoder]));
      await guest.says(/^live as .*fps/, 60);
      return `free: "${free.of("encoder")[0].what}"; busy: "${holder.what}"; the daemon's: "${ours.what}"`;
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
