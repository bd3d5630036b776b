// Prints the notices of what is in the program: of its crates, and of the packages that its page is made of.
//
//   node packaging/notices.mjs [TARGET]
//
// MIT, BSD and ISC ask that whoever passes the program on passes them on, too. They are read from the sources as cargo
// and npm unpacked them, for TARGET (a triple), which by default is the machine's own.

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";

const ROOT = path.resolve(import.meta.dirname, "..");
const NOTICE = /^(licen[cs]e|copying|copyright|notice|unlicense)/i;

/** Everything that is linked into the program: neither what only builds or tests it, nor macros. */
function crates(target) {
  const options = ["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", target];
  const metadata = JSON.parse(execFileSync("cargo", options, { cwd: ROOT, maxBuffer: 1 << 28 }));
  const packages = new Map(metadata.packages.map((one) => [one.id, one]));
  const nodes = new Map(metadata.resolve.nodes.map((node) => [node.id, node]));
  const isMacro = (id) => packages.get(id).targets.some(({ kind }) => kind.includes("proc-macro"));
  const found = new Set();
  const follow = (id) => {
    if (found.has(id) || isMacro(id)) return;
    found.add(id);
    for (const { pkg, dep_kinds: kinds } of nodes.get(id).deps) {
      if (kinds.some(({ kind }) => kind === null)) follow(pkg);
    }
  };
  follow(metadata.packages.find(({ name, source }) => name === "perch" && source === null).id);
  return [...found].map((id) => packages.get(id)).filter(({ source }) => source !== null)
    .map(({ name, version, license, authors, manifest_path: manifest }) => ({ name: `${name} ${version}`, license, authors, directory: path.dirname(manifest) }));
}

/** What Vite bundles: all that is not for development. */
function packages() {
  const { packages: locked } = JSON.parse(readFileSync(path.join(ROOT, "web/package-lock.json"), "utf8"));
  return Object.entries(locked).filter(([where, { dev }]) => where !== "" && !dev).map(([where, { version }]) => {
    const directory = path.join(ROOT, "web", where);
    const { name, license, author } = JSON.parse(readFileSync(path.join(directory, "package.json"), "utf8"));
    return { name: `${name} ${version} (page)`, license, authors: [author?.name ?? author].filter(Boolean), directory };
  });
}

const own = () => /^host: (.*)$/m.exec(execFileSync("rustc", ["-vV"], { encoding: "utf8" }))[1];

const byText = new Map();
const without = [];
const all = [...crates(process.argv[2] ?? own()), ...packages()].sort((one, other) => one.name.localeCompare(other.name, "en"));
for (const one of all) {
  const files = readdirSync(one.directory).filter((name) => NOTICE.test(name) && statSync(path.join(one.directory, name)).isFile());
  if (files.length === 0) without.push(one);
  for (const file of files.sort()) {
    const text = readFileSync(path.join(one.directory, file), "utf8").replaceAll("\r\n", "\n").trim();
    // The same words with other line breaks are the same notice.
    const key = text.replace(/\s+/g, " ");
    const entry = byText.get(key) ?? { text, names: new Set() };
    entry.names.add(one.name);
    byText.set(key, entry);
  }
}

const rule = "-".repeat(78);
console.log("Perch contains what is listed here, under the terms that are given with it.");
for (const { text, names } of byText.values()) console.log(`\n${rule}\n${[...names].join("\n")}\n${rule}\n\n${text}`);
if (without.length > 0) {
  console.log(`\n${rule}\nThese come without a text of their own:\n${rule}\n`);
  for (const { name, license, authors } of without) console.log(`${name}: ${license}; ${authors.join(", ") || "no authors named"}`);
}
