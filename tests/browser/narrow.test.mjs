// The page of a viewer whose connection does not carry the full picture, against the whole program.

import assert from "node:assert/strict";
import { test } from "node:test";

import { launchChromium } from "../interop/chromium.mjs";
import { lacking } from "../interop/namespaces.mjs";
import { Links } from "../interop/narrow.mjs";
import { PERCH } from "./paths.mjs";
import { Program } from "./program.mjs";
import { Visitor } from "./visitor.mjs";

const SMALL = { PERCH__CAMERA__WIDTH: "640", PERCH__CAMERA__HEIGHT: "360", PERCH__ENCODER__BITRATE: "2000000" };
/** From a wide link until the full picture, with a try that fails before. */
const BACK_WITHIN = 120_000;

test("a narrow link brings the smaller picture, and a wide one the full one again", { skip: lacking() }, async (t) => {
  const links = new Links(t, 1);
  const listen = `${links.links[0].device}:8080`;
  const command = [...links.prefix, PERCH, "demo", "--listen", listen];
  const program = new Program("/bin/sh", ["-c", 'exec "$@"', "sh", ...command], { env: SMALL });
  t.after(() => program.stop());
  const [link] = await program.says(/http:\/\/\S+\/#\S+/);
  const browser = await launchChromium([], links.browser(0));
  t.after(() => browser.close());
  const visitor = await Visitor.enter(t, {}, browser);
  await visitor.open(link.replace(/\/\/[^/]+/, `//${listen}`));
  await visitor.seesLive();
  await visitor.button(/^Connection: (Excellent|Good|Fair|Poor)/).click();
  await visitor.sees("Full size");
  assert.equal((await visitor.picture()).width, 640);

  links.limit(0, 300);
  await visitor.sees(/^Smaller: (your connection or computer does not keep up with the full one|too many packets are lost)$/);
  await visitor.sees("320×180");
  await visitor.seesLive();
  await visitor.screenshot("narrow");
  links.unlimit(0);
  visitor.context.setDefaultTimeout(BACK_WITHIN);
  await visitor.page.locator("#details").getByText("640×360").waitFor();
  await visitor.sees("Full size");
  await visitor.seesLive();
  assert.deepEqual(visitor.complaints, []);
});
