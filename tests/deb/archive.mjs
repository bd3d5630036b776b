// What is in the package, looked at from outside.

import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { gunzipSync } from "node:zlib";

import { ROOT } from "../guest/paths.mjs";
import { check } from "../guest/suite.mjs";

/** What only a Debian package has, beside what is installed everywhere. */
const DEBIANS = ["NOTICES", "changelog", "changelog.Debian", "copyright"].map((name) => `usr/share/doc/perch/${name}`).concat("usr/share/lintian/overrides/perch");
const PROGRAM = "usr/bin/perch";

export const run = (command, args, options = {}) => execFileSync(command, args, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], ...options });
export const field = (deb, name) => run("dpkg-deb", ["--field", deb, name]).trim();

/** Runs `act` with a directory that is gone afterwards. */
export function within(act) {
  const directory = mkdtempSync(path.join(tmpdir(), "perch-deb-"));
  try {
    return act(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Every file below a directory with its mode and its content's digest; compressed ones as what they hold. */
function contents(tree) {
  const files = new Map();
  const look = (directory) => {
    for (const name of readdirSync(path.join(tree, directory))) {
      const file = path.join(directory, name);
      const { mode } = lstatSync(path.join(tree, file));
      if (lstatSync(path.join(tree, file)).isDirectory()) {
        look(file);
        continue;
      }
      const bytes = readFileSync(path.join(tree, file));
      const held = file.endsWith(".gz") ? gunzipSync(bytes) : bytes;
      files.set(file.replace(/\.gz$/, ""), `${(mode & 0o7777).toString(8)} ${createHash("sha256").update(held).digest("hex")}`);
    }
  };
  look(".");
  return files;
}

/** The program's instructions: all that stripping it leaves as it is. */
function instructions(tree) {
  const text = path.join(tree, "text");
  run("objcopy", ["--output-target=binary", "--only-section=.text", path.join(tree, PROGRAM), text]);
  const bytes = readFileSync(text);
  rmSync(text);
  return bytes;
}

/** @returns {import("../guest/suite.mjs").Case[]} */
export const archive = (deb) => [
  {
    name: "the same files",
    holds: "the package has what `make install` installs, file by file, and only Debian's papers beside that",
    run: async () =>
      within((directory) => {
        const [packed, installed] = ["packed", "installed"].map((name) => path.join(directory, name));
        run("dpkg-deb", ["--extract", deb, packed]);
        const program = path.join(path.dirname(path.dirname(deb)), "release/perch");
        run("make", ["--no-print-directory", "install", `DESTDIR=${installed}`, `PERCH_BIN=${program}`]);
        check(instructions(packed).equals(instructions(installed)), "the package has another program");
        const [inPackage, byMake] = [packed, installed].map(contents);
        for (const file of DEBIANS) check(inPackage.delete(file), `${file} is missing`);
        check(inPackage.delete(PROGRAM) && byMake.delete(PROGRAM), `${PROGRAM} is missing`);
        const differ = [...new Set([...inPackage.keys(), ...byMake.keys()])].filter((file) => inPackage.get(file) !== byMake.get(file));
        check(differ.length === 0, `they differ in ${differ.map((file) => `${file} (${inPackage.get(file) ?? "not packed"}, ${byMake.get(file) ?? "not installed"})`)}`);
        check(inPackage.size > 15, `only ${inPackage.size} files`);
        return `${inPackage.size + 1} files with the same mode and content, and ${DEBIANS.length} of Debian's`;
      }),
  },
  {
    name: "lintian",
    holds: "says nothing: no error, no warning, no hint",
    run: async () => {
      const { status, stdout, stderr } = spawnSync("lintian", ["--allow-root", "--display-info", "--fail-on=error,warning,info", deb], { encoding: "utf8" });
      check(status === 0 && stdout + stderr === "", `it ends with ${status}: ${stdout}${stderr}`);
      return run("lintian", ["--version"]).trim();
    },
  },
  {
    name: "dependencies",
    holds: "every library that the program is linked with, in the version that dpkg-shlibdeps asks for",
    run: async () =>
      within((directory) => {
        // It wants a source package's description beside it.
        mkdirSync(path.join(directory, "debian"));
        run("dpkg-deb", ["--extract", deb, path.join(directory, "debian/perch")]);
        writeFileSync(path.join(directory, "debian/control"), "Source: perch\n\nPackage: perch\nArchitecture: any\n");
        const found = run("dpkg-shlibdeps", ["-O", path.join(directory, "debian/perch", PROGRAM)], { cwd: directory });
        const parse = (text) => text.trim().split(/\s*,\s*/).map((clause) => clause.split(/\s*\|\s*/).map((one) => /^(\S+?)(?: \(>= (.*)\))?$/.exec(one).slice(1)));
        const wanted = parse(found.replace("shlibs:Depends=", ""));
        const given = parse(field(deb, "Depends")).flat();
        for (const [[name, version]] of wanted) {
          const [, ours] = given.find(([other]) => other === name) ?? [];
          check(given.some(([other]) => other === name), `${name} is missing`);
          if (version) check(ours && spawnSync("dpkg", ["--compare-versions", ours, "ge", version]).status === 0, `${name} is asked for as ${ours}, needed is ${version}`);
        }
        return wanted.map(([[name, version]]) => `${name} ≥ ${version ?? "any"}`).join(", ");
      }),
  },
  {
    name: "made twice",
    holds: "the same sources and program give the same package, byte for byte",
    run: async () => {
      const digest = () => createHash("sha256").update(readFileSync(deb)).digest("hex");
      const first = digest();
      // As late as it takes for a time that slipped in to differ, by itself.
      run("scripts/make-deb", []);
      check(digest() === first, "the second differs");
      return first.slice(0, 16);
    },
  },
];
