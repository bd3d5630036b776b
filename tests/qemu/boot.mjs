// A device that is switched on: with nothing but the package and its settings it goes live by itself, and a browser outside
// that had the page open sees its picture.

import { Guest } from "../guest/guest.mjs";
import { install, into } from "../guest/install.mjs";
import { Machine } from "../guest/qemu.mjs";
import { check } from "../guest/suite.mjs";
import { COUNTED, startOf } from "../guest/unit.mjs";

/** Pictures that the page has to show, after the first. */
const FRAMES = 30;
/** For a machine in which every instruction costs ten, on a host that has others to serve. */
const PATIENCE = 600_000;

const VIVID = {
  "etc/modules-load.d/vivid.conf": "vivid\n",
  "etc/modprobe.d/vivid.conf": "options vivid n_devs=1 node_types=0x1\n",
};
/** A second encode is more than an emulated machine has to spare: what it sends then is late, which asks for that very encode. */
const ONE_ENCODE = { "etc/perch/conf.d/20-emulated.toml": "[encoder]\nsecond_rendition = false\n" };
const SMALL = "width = 320\nheight = 180\nframerate = 10";

/** Resolves when the page shows a frame, with the time in ms since the epoch; the page's own clock is the host's. */
const firstFrame = ({ page }) =>
  page.evaluate(() => new Promise((resolve) => {
    document.getElementById("video").requestVideoFrameCallback((_, { presentationTime }) => resolve(performance.timeOrigin + presentationTime));
  }));

/** The boot as systemd tells of it, once it is over. */
async function analysis(guest) {
  await guest.until("the boot to be over", 60, async () => (await guest.attempt("systemd-analyze time")).code === 0);
  return guest.run("systemd-analyze time; systemd-analyze critical-chain --no-pager --fuzz=1s perch.service | tail -n +4; echo; systemd-analyze blame --no-pager | head -n 10", 60);
}

/** When what happened, in s after switching on; `live` (in ms since the epoch) is when the lobby heard of the stream. */
async function stages(guest, machine, live, frame) {
  const moments = await guest.show("perch", "ExecMainStartTimestampMonotonic");
  const event = async (name) => {
    const [entry] = await guest.journal(`-u perch EVENT=${name}`);
    check(entry, `the journal has no ${name}`);
    return Number(entry.__MONOTONIC_TIMESTAMP);
  };
  const userspace = Number((await guest.run("systemctl show -p UserspaceTimestampMonotonic --value")).trim());
  const lineLive = await event("line-live");
  // The guest's clock begins with its kernel. Both saw one thing: the stream that went live.
  const kernel = (live.at - machine.startedAt) / 1000 - lineLive / 1e6;
  const inside = (microseconds) => kernel + microseconds / 1e6;
  return [
    ["the kernel runs", kernel],
    ["systemd runs", inside(userspace)],
    ["perch is started", inside(Number(moments.ExecMainStartTimestampMonotonic))],
    ["its settings are read, camera and line are begun", inside(await event("starting"))],
    ["the camera gives its picture", inside(await event("camera-live"))],
    ["**live: the lobby has `live:start`**", inside(lineLive), live.cpu],
    ["the page's viewer joined", inside(await event("viewer-joined"))],
    ["its connection carries media", inside(await event("viewer-live"))],
    ["**the first frame is rendered**", (frame.at - machine.startedAt) / 1000, frame.cpu],
  ].sort(([, one], [, other]) => one - other);
}

const took = ({ wall, cpu }) => `${wall.toFixed(1)} s (${cpu.toFixed(1)} CPU s of the guest)`;

const text = (name, rows, told) => `
### ${name}

| | s after switching on | CPU s of the emulator by then |
|---|---:|---:|
${rows.map(([what, at, cpu]) => `| ${what} | ${at.toFixed(1)} | ${cpu === undefined ? "" : cpu.toFixed(1)} |`).join("\n")}

\`\`\`
${told}
\`\`\`
`;

/**
 * @param {{base: string, root: string, secrets: object, outside: import("../guest/outside.mjs").Outside, papers: string[],
 *   onFailure: (guest: Guest, name: string) => Promise<void>}} given
 *   `papers` is given what is to be kept of each; `onFailure` has the machine while it still runs
 * @returns {import("../guest/suite.mjs").Case[]}
 */
export function boot({ base, root, secrets, outside, papers, onFailure }) {
  const one = ({ name, camera, files = {}, look }) => ({
    name,
    holds: "nobody touches it; Chromium, outside, with the lobby's page open, sees frames over the tap device",
    run: async () => {
      const visitor = await outside.visitor(name);
      // Somebody who failed before may still be in the lobby's list until it hears nothing of them any more.
      await visitor.page.getByText("Nobody is live").waitFor({ timeout: PATIENCE });
      const fill = (tree) => {
        install(tree, { root, secrets, camera, lobby: outside.url });
        const { put } = into(tree);
        for (const [file, content] of Object.entries({ ...ONE_ENCODE, ...files, "etc/systemd/system/perch.service.d/counted.conf": COUNTED })) put(file, content);
      };
      const machine = Machine.start(base, fill, { outside });
      const guest = new Guest(machine, { patience: 4, lobby: outside.url });
      try {
        const mark = (at) => ({ at, cpu: machine.cpuSeconds() });
        const [live, frame] = await Promise.all([outside.live(PATIENCE).then(mark), firstFrame(visitor).then(mark), machine.ready()]);
        await visitor.seesMotion(FRAMES);
        const { width, height } = await visitor.picture();
        check(width === 320 && height === 180, `the picture is ${width}×${height}`);
        const sentence = await guest.says(/^live as 'Porch', 1 viewer\b.*fps/);
        check((await guest.restarts()) === 0, `${await guest.restarts()} restarts`);
        const package_ = await guest.run("dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Status}' perch");
        check(/^perch \S+ installed$/.test(package_), package_);
        await look(guest);
        const bytes = outside.received();
        check(bytes > 20_000, `only ${bytes} bytes came over the tap device`);
        const rows = await stages(guest, machine, live, frame);
        const first = await startOf(guest);
        papers.push(text(name, rows, await analysis(guest)));
        check(visitor.complaints.length === 0, visitor.complaints.join("; "));
        await guest.run("systemctl restart perch", 60);
        const again = await startOf(guest);
        await guest.run("systemctl stop perch");
        const after = ({ at, cpu: seconds }) => `${((at - machine.startedAt) / 1000).toFixed(1)} s (${seconds.toFixed(1)} CPU s)`;
        return `live:start after ${after(live)}, first frame after ${after(frame)}; perch was live ${took(first)} after its start, and ${took(again)} when started again, with GStreamer's registry there; "${sentence}"; ${Math.round(bytes / 1000)} kB over the tap`;
      } catch (error) {
        if (machine.takesCommands) await onFailure(guest, name).catch((also) => console.error(also));
        throw error;
      } finally {
        await outside.sendAway();
        await machine.stop();
      }
    },
  });
  return [
    one({
      name: "switched on with the test profile",
      camera: `profile = "test"\n${SMALL}`,
      look: async (guest) => check((await guest.attempt("ls /dev/video*")).code !== 0, "there is a camera"),
    }),
    one({
      name: "switched on with a camera",
      camera: `profile = "v4l2"\ndevice = "/dev/video0"\n${SMALL}`,
      files: VIVID,
      look: async (guest) => {
        const driver = await guest.run("v4l2-ctl -d /dev/video0 --info | sed -n 's/.*Driver name *: //p' | head -n 1");
        const held = await guest.run(`ls -l /proc/${await guest.pid()}/fd | grep -c /dev/video0`);
        check(driver === "vivid" && Number(held) > 0, `${driver}, held ${held} times`);
      },
    }),
  ];
}
