// Perch as an installed service under a real systemd: `node run.mjs [--write] [--only TEXT]`.
//
// Needs root, for a container and its overlay; scripts/install-needs guest installs the rest.

import { appendFileSync, mkdirSync } from "node:fs";
import path from "node:path";

import { Guest } from "../guest/guest.mjs";
import { install, makeSecrets } from "../guest/install.mjs";
import { Container } from "../guest/nspawn.mjs";
import { ARTIFACTS, ROOT } from "../guest/paths.mjs";
import { circumstances, conclude, guestRoot, runCases } from "../guest/suite.mjs";
import { care } from "./care.mjs";
import { doctor } from "./doctor.mjs";
import { escalation } from "./escalation.mjs";
import { life } from "./life.mjs";
import { sandbox } from "./sandbox.mjs";
import { secrecy } from "./secrecy.mjs";

const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : null;
const camera = 'profile = "test"\nwidth = 640\nheight = 360\nframerate = 15';
const secrets = makeSecrets();
const began = performance.now();

const root = path.join(guestRoot(ROOT), "root");
const container = await Container.boot(root, (tree) => install(tree, { root, secrets, camera }));
const guest = new Guest(container);
const onFailure = async ({ name }) => {
  const { out } = await guest.attempt("journalctl -b --no-pager | tail -n 200");
  mkdirSync(ARTIFACTS, { recursive: true });
  appendFileSync(path.join(ARTIFACTS, "systemd-failures.log"), `== ${name}\n${out}\n`);
};
try {
  const version = (await guest.run("systemctl --version")).split("\n")[0];
  // A single case finds the lobby there, which the first of all find away.
  if (only) await guest.run("systemctl start lobby && systemctl start perch", 90);
  // In this order: the first of them see the service start, the last of them ends the container.
  const cases = [...life, ...secrecy(Object.values(secrets)), ...doctor(Object.values(secrets)), ...sandbox, ...care, ...escalation(container)];
  const rows = await runCases(cases, guest, { only, onFailure });
  conclude(rows, {
    title: "Under systemd",
    about: `${circumstances("make test-systemd", `${version} as PID 1 in systemd-nspawn, Debian 12`)} The installed unit, all of it, in ${Math.round((performance.now() - began) / 1000)} s.`,
    file: path.join(import.meta.dirname, "RESULTS.md"),
  });
} finally {
  await container.stop();
}
