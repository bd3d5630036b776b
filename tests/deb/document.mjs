// The commands of a page for people, as they stand there.

import { readFileSync } from "node:fs";

/**
 * The page's sections by their headings, each with its fenced shell blocks.
 * @returns {Map<string, string[]>}
 */
export function commands(file) {
  const sections = new Map();
  let heading = "";
  let block = null;
  for (const line of readFileSync(file, "utf8").split("\n")) {
    if (block === null && line.startsWith("#")) heading = line.replace(/^#+ /, "");
    else if (block === null && line === "```sh") block = [];
    else if (block !== null && line === "```") {
      sections.set(heading, [...(sections.get(heading) ?? []), `${block.join("\n")}\n`]);
      block = null;
    } else block?.push(line);
  }
  return sections;
}
