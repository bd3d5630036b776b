// What is laid over the guests' root file system: the Debian package as dpkg installs it there, settings and secrets as
// an owner would write them, and the programs that test it.

import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";

import { pipe } from "./nspawn.mjs";
import { debianPackage, FAULT_PLUGIN, FAULT_PROFILE, LOBBY, SWARM } from "./paths.mjs";

/** The guest's own address: libnice takes no loopback interface. */
export const ADDRESS = "10.77.0.1";
/** Where the guest's own lobby is, for suites that have none outside. */
export const OWN_LOBBY = "http://127.0.0.1:9100";

const UNITS = {
  "guest-network.service": `
[Unit]
Description=An interface for the pictures
DefaultDependencies=no
Before=network-pre.target
Wants=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link add perch0 type veth peer name far0
ExecStart=ip address add ${ADDRESS}/24 dev perch0
ExecStart=ip link set far0 up
ExecStart=ip link set perch0 up
[Install]
WantedBy=sysinit.target
`,
  "lobby.service": `
[Unit]
Description=The owner's lobby
[Service]
ExecStart=lobby --listen ${new URL(OWN_LOBBY).host} --secret-file /etc/lobby-secret
`,
};

/** The secrets of a guest, new for every run: none of them may turn up anywhere. */
export function makeSecrets() {
  const secret = (name) => `${name}-${randomBytes(18).toString("hex")}`;
  return { "lobby-secret": secret("lobby"), "turn-secret": secret("shared"), "turn-password": secret("password") };
}

/** What every guest has, whoever installs Perch there: the programs that test it, a network, the owner's lobby. */
export function equip(tree, secret) {
  const { put, copy, want } = into(tree);
  copy("usr/local/bin/swarm", needs(SWARM), 0o755);
  copy("usr/local/bin/lobby", needs(LOBBY), 0o755);
  for (const [name, text] of Object.entries(UNITS)) put(`etc/systemd/system/${name}`, text);
  put("etc/lobby-secret", secret, 0o600);
  want("sysinit.target", "guest-network.service", "/etc/systemd/system");
}

function needs(file) {
  if (!existsSync(file)) throw new Error(`${file} is missing: run \`make programs\``);
  return file;
}

/** Ways to put something into a tree. */
export function into(tree) {
  const made = (file) => {
    const whole = path.join(tree, file);
    mkdirSync(path.dirname(whole), { recursive: true });
    return whole;
  };
  return {
    put(file, text, mode = 0o644) {
      writeFileSync(made(file), text);
      chmodSync(path.join(tree, file), mode);
    },
    copy(file, from, mode = 0o644) {
      copyFileSync(from, made(file));
      chmodSync(path.join(tree, file), mode);
    },
    want(target, unit, from) {
      symlinkSync(path.join(from, unit), made(`etc/systemd/system/${target}.wants/${unit}`));
    },
  };
}

/** Puts all of another tree into this one, as it is. */
export const layOver = (tree, other) => execFileSync("cp", ["--archive", `${other}/.`, tree]);

/**
 * Fills `tree`, which must be empty, with what makes the root file system `root` a device that goes live at boot.
 * `camera` is the text of the settings' `[camera]` table.
 */
export function install(tree, { root, secrets, camera, lobby = OWN_LOBBY }) {
  installPackage(tree, root);
  equip(tree, secrets["lobby-secret"]);
  const { put, copy } = into(tree);
  copy("usr/lib/x86_64-linux-gnu/gstreamer-1.0/libgstfaultgate.so", needs(FAULT_PLUGIN), 0o644);
  copy("usr/share/perch/pipelines/faulty.toml", FAULT_PROFILE, 0o644);
  put("etc/perch/conf.d/10-site.toml", settings(camera, lobby));
  for (const [name, text] of Object.entries(secrets)) put(`etc/perch/${name}`, `${text}\n`, 0o600);
  put("etc/systemd/system/perch.service.d/secrets.conf", credentials(Object.keys(secrets)));
}

/** The package and its service's enabling, by the system's own programs, on a system that does not run and has no network. */
function installPackage(tree, root) {
  overlaid(root, tree, (merged) => {
    copyFileSync(debianPackage(), path.join(merged, "root/perch.deb"));
    const script = "dpkg --install /root/perch.deb && rm /root/perch.deb && systemctl enable perch";
    const { status, stdout, stderr, error } = spawnSync("systemd-nspawn", pipe(merged, "--private-network", "sh", "-c", script), { encoding: "utf8" });
    if (error) throw error;
    if (status !== 0) throw new Error(`the package could not be installed:\n${stdout}${stderr}`);
  });
}

/** Lets `act` have the directory that shows `tree` over `root`; what it writes there is written to `tree`. */
function overlaid(root, tree, act) {
  const beside = mkdtempSync(`${tree}-`);
  const [work, merged] = ["work", "merged"].map((name) => path.join(beside, name));
  for (const directory of [work, merged]) mkdirSync(directory);
  execFileSync("mount", ["-t", "overlay", "-o", `lowerdir=${root},upperdir=${tree},workdir=${work}`, "overlay", merged]);
  try {
    act(merged);
  } finally {
    execFileSync("umount", [merged]);
    rmSync(beside, { recursive: true });
  }
}

const settings = (camera, lobby) => `
[stream]
title = "Porch"

[camera]
${camera}

[encoder]
bitrate = 400000

[lobby]
url = "${lobby}"

[lobby.auth]
secret_file = "lobby-secret"
subject = "porch"

[ice]
servers = [
    { url = "turn:10.77.0.250:3478", secret_file = "turn-secret" },
    { url = "turn:10.77.0.251:3478", username = "porch", credential_file = "turn-password" },
]
`;

const credentials = (names) => `[Service]\n${names.map((name) => `LoadCredential=${name}:/etc/perch/${name}\n`).join("")}`;
