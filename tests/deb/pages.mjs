// docs/configure.md, docs/troubleshoot.md and docs/boards.md on a system that is live: every command of theirs runs, and what they quote of the
// program is seen where it is said to be seen.

import path from "node:path";

import { ROOT } from "../guest/paths.mjs";
import { check } from "../guest/suite.mjs";
import { blocks } from "./document.mjs";
import { elsewhere, symptoms } from "./symptoms.mjs";

/** What a block of theirs may be. The TOML and the page's words are tests/pages.rs's. */
const KINDS = ["sh", "toml", "page", "libcamera", "status", "journal", "doctor", "why", "check"];
/** Those whose lines are to be seen. */
const QUOTES = ["status", "journal", "doctor", "why", "check"];

const KEPT = "/run/perch-pages";
const DROP_INS = "/etc/systemd/system/perch.service.d";

const keep = (guest) => guest.run(`rm -rf ${KEPT} && mkdir ${KEPT} && cp -a /etc/perch ${KEPT}/settings && cp -a ${DROP_INS} ${KEPT}/drop-ins`);

/** All as it was, and live. */
async function restore(guest) {
  await guest.run(`rm -rf /etc/perch ${DROP_INS}; cp -a ${KEPT}/settings /etc/perch; cp -a ${KEPT}/drop-ins ${DROP_INS}
    systemctl daemon-reload; systemctl reset-failed perch; timeout 60 systemctl restart perch`, 90);
  // By then it is known how many frames there are.
  await guest.says(/^live as .* fps$/);
}

/** All that a technician would read now. */
async function told(guest, after) {
  const { out } = await guest.attempt("systemctl show perch -p StatusText --value; perch status; perch check; perch doctor", 60);
  const journal = await guest.journal("_SYSTEMD_UNIT=perch.service SYSLOG_IDENTIFIER=perch", after);
  return `${out}\n${journal.flatMap(({ MESSAGE, WHY }) => [MESSAGE, WHY]).join("\n")}`;
}

/** A quote as what it stands for: `…` for anything, a number for any. */
function pattern(quote) {
  const escaped = quote.trim().replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(escaped.replace(/…/g, ".*").replace(/\d+(\\\.\d+)?/g, "[\\d.]+").replace(/\s+/g, "\\s+"));
}

/** @returns {import("../guest/suite.mjs").Case[]} one for each section that has commands or quotes */
export function pages(place) {
  const troubles = blocks(path.join(ROOT, "docs/troubleshoot.md"));
  const left = [
    ...Object.keys(symptoms).filter((heading) => !troubles.some((block) => block.heading === heading)),
    ...elsewhere.filter((part) => !troubles.some(({ kind, text }) => QUOTES.includes(kind) && text.includes(part))),
  ];
  check(left.length === 0, `troubleshoot.md has nothing like: ${left.join(" | ")}`);
  return ["configure.md", "troubleshoot.md", "boards.md"].flatMap((name) => {
    const all = blocks(path.join(ROOT, "docs", name));
    const strange = all.filter(({ kind }) => !KINDS.includes(kind)).map(({ kind }) => kind);
    check(strange.length === 0, `${name} has blocks of no known kind: ${strange}`);
    const shows = name === "troubleshoot.md";
    const headings = new Set(all.filter(({ kind }) => kind === "sh" || (shows && QUOTES.includes(kind))).map(({ heading }) => heading));
    return [...headings].map((heading) => {
      const own = all.filter((block) => block.heading === heading);
      const scripts = own.filter(({ kind }) => kind === "sh").map(({ text }) => text);
      const quotes = shows ? own.filter(({ kind }) => QUOTES.includes(kind)).flatMap(({ text }) => text.trimEnd().split("\n")) : [];
      return section({ name: `${name}: ${heading}`, heading, scripts, quotes, place });
    });
  });
}

function section({ name, heading, scripts, quotes, place }) {
  const causes = symptoms[heading] ?? [];
  return {
    name,
    holds: quotes.length > 0 ? "what it quotes is seen, here or in another suite; its commands run" : "its commands run",
    run: async (guest) => {
      const open = new Set(quotes.filter((quote) => !elsewhere.some((other) => quote.includes(other))));
      await keep(guest);
      try {
        for (const { does, shows } of causes) await provoke(guest, { does, shows, open });
        check(open.size === 0, `nobody saw: ${[...open].join(" | ")}`);
        if (causes.length > 0) await restore(guest);
        for (const script of scripts) {
          const { code, out } = await guest.attempt(`cd ${place} && set -e\n${script}`, 120);
          check(code === 0, `ended with ${code}:\n${script}\n${out.slice(-2000)}`);
        }
        if (heading === "Ask for help") await saysNoSecret(guest, `${place}/perch-report.txt`);
      } finally {
        await restore(guest);
      }
      const seen = quotes.length - quotes.filter((quote) => elsewhere.some((other) => quote.includes(other))).length;
      return `${scripts.length} blocks ran; ${seen} of ${quotes.length} quotes seen`;
    },
  };
}

async function provoke(guest, { does, shows, open }) {
  const wanted = shows.map((begins) => {
    const quote = [...open].find((one) => one.includes(begins));
    check(quote, `the section quotes nothing like: ${begins}`);
    return quote;
  });
  const before = await guest.mark();
  await guest.attempt(does, 60);
  const missing = new Set(wanted);
  let last = "";
  await guest.until(
    `the lines of the page`,
    40,
    async () => {
      last = await told(guest, before);
      for (const quote of missing) if (pattern(quote).test(last)) missing.delete(quote);
      return missing.size === 0;
    },
    async () => `unseen: ${[...missing].join(" | ")}\n${last.slice(-3000)}`,
  );
  for (const quote of wanted) open.delete(quote);
}

async function saysNoSecret(guest, file) {
  const secret = await guest.run("cat /etc/lobby-secret");
  const report = await guest.run(`cat ${file}`, 60);
  check(report.includes("live as 'Porch'") && report.includes("EVENT=line-live"), `the report is none: ${report.slice(0, 500)}`);
  check(!report.includes(secret.trim()) && !/eyJ[\w-]+\.eyJ/.test(report), "the report has a secret in it");
}
