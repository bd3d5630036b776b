// What stands in a page for people: its commands, as they are, and what it quotes.

import { readFileSync } from "node:fs";

/**
 * The page's fenced blocks, each with its heading and its kind.
 * @returns {{heading: string, kind: string, text: string}[]}
 */
export function blocks(file) {
  const found = [];
  let heading = "";
  let block = null;
  for (const line of readFileSync(file, "utf8").split("\n")) {
    if (block !== null && line === "```") {
      found.push({ heading, kind: block.kind, text: block.lines.map((of) => `${of}\n`).join("") });
      block = null;
    } else if (block !== null) block.lines.push(line);
    else if (line.startsWith("```")) block = { kind: line.slice(3), lines: [] };
    else if (line.startsWith("#")) heading = line.replace(/^#+ /, "");
  }
  return found;
}

/**
 * The page's sections by their headings, each with its shell blocks.
 * @returns {Map<string, string[]>}
 */
export function commands(file) {
  const sections = new Map();
  for (const { heading, kind, text } of blocks(file)) {
    if (kind === "sh") sections.set(heading, [...(sections.get(heading) ?? []), text]);
  }
  return sections;
}
