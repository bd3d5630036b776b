// What is laid over the guests' root file system: Perch as `make install` installs it, its settings
// and secrets as an owner would write them, and the programs that test it.

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";

import { FAULT_PLUGIN, FAULT_PROFILE, LOBBY, PERCH, ROOT, SWARM } from "./paths.mjs";

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

/** Fills `tree`, which must be empty. `camera` is the text of the settings' `[camera]` table. */
export function install(tree, { secrets, camera, lobby = OWN_LOBBY }) {
  equip(tree, secrets["lobby-secret"]);
  const { put, copy, want } = into(tree);
  for (const file of [PERCH, FAULT_PLUGIN]) needs(file);
  execFileSync("make", ["--no-print-directory", "install", `DESTDIR=${tree}`, `PERCH_BIN=${PERCH}`, "MANUAL="], { cwd: ROOT, stdio: "pipe" });
  copy("usr/lib/x86_64-linux-gnu/gstreamer-1.0/libgstfaultgate.so", FAULT_PLUGIN, 0o644);
  copy("usr/share/perch/pipelines/faulty.toml", FAULT_PROFILE, 0o644);
  put("etc/perch/perch.toml", settings(camera, lobby));
  for (const [name, text] of Object.entries(secrets)) put(`etc/perch/${name}`, `${text}\n`, 0o600);
  put("etc/systemd/system/perch.service.d/secrets.conf", credentials(Object.keys(secrets)));
  want("multi-user.target", "perch.service", "/usr/lib/systemd/system");
  // A program that is newer than /etc is what makes systemd look for users to add.
  utimesSync(path.join(tree, "usr"), new Date(), new Date());
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
