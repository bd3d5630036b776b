// Network namespaces, and what rules them.

import { execFileSync, spawnSync } from "node:child_process";

const QUIET = { stdio: ["ignore", "pipe", "inherit"] };

/**
 * Why this machine cannot make them, or `false`; in CI it must.
 * @param {string | null} more what else is missing
 */
export function lacking(more = null) {
  const missing = process.getuid() !== 0 ? "root, to make network namespaces"
    : more ?? (spawnSync("nft", ["--version"]).error ? "nft (apt-get install nftables)" : null);
  if (missing && process.env.CI) throw new Error(`this needs ${missing}`);
  return missing !== null && `this needs ${missing}`;
}

export const ip = (...args) => execFileSync("ip", args, QUIET);

export const tc = (namespace, ...args) => execFileSync("tc", ["-n", namespace, ...args], QUIET);

export function nft(namespace, rules) {
  execFileSync("ip", ["netns", "exec", namespace, "nft", "-f", "-"], { input: rules, stdio: ["pipe", "inherit", "inherit"] });
}
