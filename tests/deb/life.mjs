// The package on a system: what docs/install.md says, command by command, and what holds between its steps.

import path from "node:path";

import { check } from "../guest/suite.mjs";
import { analyzed } from "../guest/unit.mjs";
import { field } from "./archive.mjs";
import { pages } from "./pages.mjs";

/** Where the package is copied to, as one would. */
export const PLACE = "/root";

/** What is left of Perch on a system, but for its user: paths, unit, package. */
const TRACES = `
find / -xdev -ipath '*perch*' -not -path '${PLACE}/*' -not -path '/debs/*' -not -path '/proc/*' -not -path '/sys/*' -not -path /etc/hostname
systemctl list-unit-files --no-legend 'perch*'
systemctl list-units --all --no-legend 'perch*'
dpkg-query --show perch 2>/dev/null
grep -sx perch /proc/[0-9]*/comm
true`;

/**
 * @param {object} given
 * @param {Map<string, string[]>} given.page docs/install.md
 * @param {string[]} given.debs the package and two newer ones, of which the last has other settings
 * @param {boolean} given.others whether the other pages' commands are run, too
 * @returns {import("../guest/suite.mjs").Case[]}
 */
export function life({ page, debs, others }) {
  const left = new Map(page);
  /** Runs the next block of a section, each but once; `within` seconds. */
  const next = async (guest, section, seconds = 60, { allow = [0] } = {}) => {
    const [block, ...rest] = left.get(section) ?? [];
    check(block, `the page has no more commands under "${section}"`);
    left.set(section, rest);
    const { code, out } = await guest.attempt(`cd ${PLACE} && set -e\n${block}`, seconds);
    check(allow.includes(code), `ended with ${code}:\n${block}\n${out.slice(-3000)}`);
    return out;
  };
  const offer = (guest, index) => guest.run(`rm -f ${PLACE}/perch_*.deb && cp /debs/${path.basename(debs[index])} ${PLACE}/`);
  const watched = async (guest, seconds = 5) => {
    const { failed, frames, lost_packets: lost } = await (await guest.viewer(seconds)).report();
    check(failed === 0 && frames > 5 * seconds, `${failed} viewers failed, ${frames} frames in ${seconds} s`);
    return `${frames} frames in ${seconds} s, ${lost} packets lost`;
  };
  const version = (guest) => guest.run("dpkg-query --show --showformat='${Version}' perch");
  let settings;

  return [
    {
      name: "install",
      holds: "apt brings what it depends on; the unit is there, neither enabled nor started, and nothing has failed",
      run: async (guest) => {
        const before = await guest.run(TRACES);
        check(before === "", `it is there before: ${before}`);
        await offer(guest, 0);
        const out = await next(guest, "Install it", 400);
        const brought = Number(/(\d+) newly installed/.exec(out)[1]);
        check(brought > 20, `apt installed ${brought} packages`);
        const { ActiveState, UnitFileState, NeedDaemonReload } = await guest.show("perch", "ActiveState", "UnitFileState", "NeedDaemonReload");
        check(`${ActiveState} ${UnitFileState} ${NeedDaemonReload}` === "inactive disabled no", `it is ${ActiveState}, ${UnitFileState}, NeedDaemonReload=${NeedDaemonReload}`);
        const failed = await guest.run("systemctl list-units --no-legend --state=failed");
        check(failed === "", failed);
        check(/^perch:.*:\/var\/lib\/perch:/.test(await guest.run("getent passwd perch")), "there is no user");
        return `${brought} packages in all; perch.service inactive, disabled; no failed unit`;
      },
    },
    {
      name: "the program",
      holds: "runs with this release's GStreamer; lists its profiles; completes and explains its commands",
      run: async (guest) => {
        const out = await next(guest, "Install it");
        const told = /^perch (\S+) \((GStreamer \S+)\)$/m.exec(out);
        check(told && field(debs[0], "Version").startsWith(told[1]), out);
        check(/\bv4l2\b/.test(out) && /\bx264/.test(out), out);
        const completed = await guest.run("source /usr/share/bash-completion/completions/perch; COMP_WORDS=(perch d); COMP_CWORD=1; _perch perch d perch; echo ${COMPREPLY[*]}");
        check(completed === "demo devices doctor", `"perch d" is completed to: ${completed}`);
        const page = await guest.run("zcat /usr/share/man/man1/perch-run.1.gz");
        check(page.includes("/etc/perch/perch.toml"), page);
        return `${told[0]}; d → ${completed}`;
      },
    },
    {
      name: "unconfigured",
      holds: "started by mistake it says what is missing and is not started again; the shipped settings are valid",
      run: async (guest) => {
        const { code, out } = await guest.attempt("perch check");
        check(code === 1 && out.trim().split("\n").length === 1 && /lobby\.url/.test(out), out);
        await guest.attempt("systemctl start perch");
        const { ExecMainStatus } = await guest.show("perch", "ExecMainStatus");
        check(ExecMainStatus === "78" && (await guest.restarts()) === 0, `ended with ${ExecMainStatus}`);
        await guest.run("systemctl reset-failed perch");
        return out.trim();
      },
    },
    {
      name: "settings",
      holds: "`perch check` finds nothing wrong with those of the page",
      run: async (guest) => {
        await guest.run(`cp /etc/lobby-secret ${PLACE}/lobby-secret`);
        // A small picture, for this machine has others to do.
        await guest.write("/etc/perch/conf.d/20-small.toml", "[camera]\nwidth = 640\nheight = 360\nframerate = 15\n");
        await next(guest, "Say what it is to do");
        await next(guest, "Say what it is to do");
        const out = await next(guest, "Say what it is to do");
        check(/^ok$/m.test(out) && out.includes("https://lobby.example.org/"), out);
        return out.trim().split("\n").at(-2);
      },
    },
    {
      name: "live",
      holds: "`systemctl enable --now` comes back when it is live on the lobby; a viewer sees frames",
      run: async (guest) => {
        await next(guest, "Go live", 90);
        const said = await next(guest, "Go live");
        check(/live as 'Porch'/.test(said), said);
        const frames = await watched(guest);
        check((await analyzed(guest)) > 0, "no score");
        return `${frames}; "${await guest.says(/^live as /)}"`;
      },
    },
    {
      name: "the camera",
      holds: "with \"auto\" and no camera it is live, says what it waits for, and `perch doctor` names the camera as the fault",
      run: async (guest) => {
        try {
          // With a camera there would be nothing to complain of.
          const out = await next(guest, "Take the camera", 90, { allow: [1] });
          const sentence = await guest.says(/camera/);
          const { findings } = JSON.parse((await guest.attempt("perch doctor --json 2>/dev/null")).out);
          const faults = findings.filter(({ level }) => level === "fault").map(({ check: of }) => of);
          // The daemon says the same of itself.
          check(faults.includes("camera") && faults.every((of) => ["camera", "daemon"].includes(of)), `faults: ${faults}; ${out}`);
          return `"${sentence}"; faults of doctor: ${faults.join(", ")}`;
        } finally {
          await guest.run("sed -i 's/^profile = .*/profile = \"test\"/' /etc/perch/conf.d/10-site.toml && systemctl restart perch", 90);
        }
      },
    },
    ...(others ? pages(PLACE) : []),
    {
      name: "upgrade",
      holds: "edited settings stay without a question; what runs is restarted and live again; what is enabled stays so",
      run: async (guest) => {
        await guest.run("echo '# ours' >>/etc/perch/perch.toml");
        settings = await guest.run("cat /etc/perch/perch.toml /etc/perch/conf.d/10-site.toml /etc/perch/lobby-secret");
        const before = await guest.pid();
        await offer(guest, 1);
        await next(guest, "Upgrade it", 120);
        check((await version(guest)) === field(debs[1], "Version"), `it is ${await version(guest)}`);
        await guest.until("another process", 30, async () => ![0, before].includes(await guest.pid()));
        await guest.becomes("active");
        check((await guest.run("cat /etc/perch/perch.toml /etc/perch/conf.d/10-site.toml /etc/perch/lobby-secret")) === settings, "settings are others");
        check((await guest.run("systemctl is-enabled perch")) === "enabled", "it is not enabled any more");
        return `${await version(guest)}; ${await watched(guest)}`;
      },
    },
    {
      name: "upgrade without a lobby",
      holds: "ends although it cannot be live again; other settings in the package do not touch ours",
      run: async (guest) => {
        await guest.run("systemctl stop lobby");
        await offer(guest, 2);
        const before = await guest.pid();
        const began = performance.now();
        await guest.run(`cd ${PLACE} && apt-get install --yes -o Dpkg::Options::=--force-confold ./perch_*.deb`, 60);
        const took = ((performance.now() - began) / 1000).toFixed(1);
        await guest.until("another process", 30, async () => ![0, before].includes(await guest.pid()));
        await guest.becomes("activating");
        check((await guest.run("cat /etc/perch/perch.toml /etc/perch/conf.d/10-site.toml /etc/perch/lobby-secret")) === settings, "settings are others");
        await guest.run("systemctl start lobby");
        await guest.becomes("active", 90);
        return `${await version(guest)} after ${took} s; live again once the lobby was there`;
      },
    },
    {
      name: "upgrade of what is stopped",
      holds: "stays stopped",
      run: async (guest) => {
        await guest.run("systemctl stop perch");
        await offer(guest, 2);
        await guest.run(`cd ${PLACE} && apt-get install --yes --reinstall ./perch_*.deb`, 60);
        const { ActiveState } = await guest.show("perch", "ActiveState");
        check(ActiveState === "inactive", `it is ${ActiveState}`);
        await guest.run("systemctl start perch", 90);
        return ActiveState;
      },
    },
    {
      name: "remove",
      holds: "stops it; settings and state stay; installed again, it is enabled as it was",
      run: async (guest) => {
        await next(guest, "Remove it", 60);
        check((await guest.attempt("grep -sx perch /proc/[0-9]*/comm")).out === "", "it still runs");
        check((await guest.attempt("test -e /usr/bin/perch || test -e /usr/lib/systemd/system/perch.service")).code !== 0, "files are left");
        await guest.run("test -e /etc/perch/perch.toml && test -e /etc/perch/lobby-secret && test -d /var/cache/perch");
        await guest.run(`cd ${PLACE} && apt-get install --yes ./perch_*.deb`, 60);
        check((await guest.run("systemctl is-enabled perch")) === "enabled", "it is not enabled any more");
        await guest.run("systemctl start perch", 90);
        return `stopped, settings kept; enabled and live when installed again`;
      },
    },
    {
      name: "without the recommended packages",
      holds: "openh264 encodes where x264 is not installed",
      run: async (guest) => {
        await guest.run("dpkg --purge gstreamer1.0-plugins-ugly && systemctl restart perch", 90);
        const frames = await watched(guest);
        const out = await guest.run("perch check");
        check(/openh264/.test(out), out);
        return `${frames}; ${/^picture.*$/m.exec(out)[0]}`;
      },
    },
    {
      name: "purge",
      holds: "stops it, and leaves nothing but its user",
      run: async (guest) => {
        await next(guest, "Remove it", 60);
        const traces = await guest.run(TRACES);
        check(traces === "", traces);
        await guest.run("getent passwd perch");
        return "no file, no unit, no process";
      },
    },
    {
      name: "the page",
      holds: "has no command that did not run",
      run: async () => {
        const forgotten = [...left].filter(([, blocks]) => blocks.length > 0).map(([section]) => section);
        check(forgotten.length === 0, `commands under ${forgotten}`);
        return `${[...page.values()].flat().length} blocks ran`;
      },
    },
  ];
}
