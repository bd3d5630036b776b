// The Debian package, made, looked at, and on systems: `node run.mjs [--write] [--only TEXT] [SUITE …]`.
//
// Needs root, for containers and their overlays; scripts/install-needs package installs the rest.

import { spawn } from "node:child_process";
import { appendFileSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

import { Guest } from "../guest/guest.mjs";
import { equip, into, makeSecrets, OWN_LOBBY } from "../guest/install.mjs";
import { Container } from "../guest/nspawn.mjs";
import { ARTIFACTS, ROOT } from "../guest/paths.mjs";
import { circumstances, conclude, guestRoot, runCases } from "../guest/suite.mjs";
import { killAtExit } from "../interop/children.mjs";
import { archive, field, run, within } from "./archive.mjs";
import { commands } from "./document.mjs";
import { life } from "./life.mjs";

const args = process.argv.slice(2).filter((arg) => arg !== "--write");
const only = args[0] === "--only" ? args.splice(0, 2)[1] : null;
const suites = args.length > 0 ? args : ["bookworm", "trixie"];
const LOBBY_NAME = "lobby.example.org";

/** The same package as a newer one, changed by `change`. */
function newer(deb, revision, directory, change = () => {}) {
  const file = path.join(directory, path.basename(deb).replace(/-1_/, `-${revision}_`));
  within((tree) => {
    run("dpkg-deb", ["--raw-extract", deb, tree]);
    const control = path.join(tree, "DEBIAN/control");
    writeFileSync(control, readFileSync(control, "utf8").replace(/^Version: .*$/m, (line) => line.replace(/-1$/, `-${revision}`)));
    change(tree);
    run("dpkg-deb", ["--root-owner-group", "-Zgzip", "--build", tree, file]);
  });
  return file;
}

/** A certificate of the owner's own authority for the lobby. */
function certify(directory) {
  const at = (name) => path.join(directory, name);
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  run("openssl", ["req", "-x509", ...ec, "-days", "2", "-subj", "/CN=The owner", "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", at("authority.key"), "-out", at("authority.crt")]);
  run("openssl", ["req", ...ec, "-subj", `/CN=${LOBBY_NAME}`, "-keyout", at("lobby.key"), "-out", at("lobby.csr")]);
  writeFileSync(at("names"), `subjectAltName=DNS:${LOBBY_NAME}\n`);
  run("openssl", ["x509", "-req", "-in", at("lobby.csr"), "-CA", at("authority.crt"), "-CAkey", at("authority.key"), "-CAcreateserial", "-days", "2", "-extfile", at("names"), "-out", at("lobby.crt")]);
  return { authority: at("authority.crt"), certificate: at("lobby.crt"), key: at("lobby.key") };
}

/** TLS in front of the guest's lobby: the process that does it. */
function terminate(container, { certificate, key }) {
  const child = spawn("nsenter", ["--target", container.leader, "--net", process.execPath, path.join(import.meta.dirname, "terminator.mjs"), certificate, key, new URL(OWN_LOBBY).port], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  killAtExit(child);
  return new Promise((resolve, reject) => {
    child.stdout.once("data", () => resolve(child));
    child.once("exit", (code) => reject(new Error(`the lobby's TLS ended with ${code}`)));
  });
}

async function onSystem(suite, debs, directory, page) {
  const secret = makeSecrets()["lobby-secret"];
  const tls = certify(directory);
  const container = await Container.boot(path.join(guestRoot(ROOT, "--bare", suite), "root"), (tree) => {
    equip(tree, secret);
    const { put, copy, want } = into(tree);
    want("multi-user.target", "lobby.service", "/etc/systemd/system");
    put("etc/hosts", `127.0.0.1 localhost ${LOBBY_NAME}\n`);
    copy("usr/local/share/ca-certificates/owner.crt", tls.authority);
    for (const deb of debs) copy(`debs/${path.basename(deb)}`, deb);
  });
  let terminator;
  try {
    const guest = new Guest(container);
    terminator = await terminate(container, tls);
    const onFailure = async ({ name }) => {
      const { out } = await guest.attempt("journalctl -b --no-pager | tail -n 200");
      appendFileSync(path.join(ARTIFACTS, "deb-failures.log"), `== ${name}\n${out}\n`);
    };
    const cases = life({ page, debs, others: suite === suites[0] }).map((one) => ({ ...one, name: `${suite}: ${one.name}` }));
    return await runCases(cases, guest, { only, onFailure });
  } finally {
    terminator?.kill();
    await container.stop();
  }
}

mkdirSync(ARTIFACTS, { recursive: true });
const began = performance.now();
const page = commands(path.join(ROOT, "docs/install.md"));
// What the page says about making it has been done by whoever called this: `make test-deb`.
const [make] = page.get("Make the package");
if (make.trim() !== "make deb") throw new Error(`docs/install.md makes the package with: ${make}`);
page.delete("Make the package");
page.delete("For arm64, on another machine"); // tests/arm64 has done that
const deb = run("scripts/make-deb", []).trim().split("\n").at(-1);
const rows = await runCases(archive(deb), null, { only });
const directory = path.join(ARTIFACTS, "deb");
mkdirSync(directory, { recursive: true });
copyFileSync(deb, path.join(directory, path.basename(deb)));
const other = (tree) => appendFileSync(path.join(tree, "etc/perch/perch.toml"), "# a newer release's\n");
const debs = [path.join(directory, path.basename(deb)), newer(deb, 2, directory), newer(deb, 3, directory, other)];
for (const suite of suites) rows.push(...(await onSystem(suite, debs, directory, page)));
conclude(rows, {
  title: "The Debian package",
  about: `${circumstances("make test-deb", `${path.basename(deb)}, ${field(deb, "Installed-Size")} kB installed, in systemd-nspawn`)} All of it in ${Math.round((performance.now() - began) / 1000)} s.`,
  file: path.join(import.meta.dirname, "RESULTS.md"),
});
