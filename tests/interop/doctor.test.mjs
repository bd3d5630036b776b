// The doctor against servers that people run: npm's Socket.IO lobby, and coturn.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import { Coturn } from "./coturn.mjs";
import { Lobby, mintToken } from "./lobby.mjs";
import { BINARY } from "./paths.mjs";

const PICTURE = `[camera]\nprofile = "test"\nwidth = 320\nheight = 180\n`;

/** A device's files; gone after the test. */
async function device(t) {
  const dir = await mkdtemp(path.join(tmpdir(), "perch-doctor-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const write = (name, text) => writeFile(path.join(dir, name), text, { mode: 0o600 });
  const examine = (config) =>
    write("perch.toml", PICTURE + config).then(() => new Promise((resolve, reject) => {
      const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith("PERCH__")));
      Object.assign(env, { RUNTIME_DIRECTORY: dir, STATE_DIRECTORY: dir });
      const args = ["doctor", "--json", "--config", path.join(dir, "perch.toml")];
      execFile(BINARY, args, { env, timeout: 60_000 }, (error, stdout, stderr) => {
        if (error && typeof error.code !== "number") return reject(error);
        resolve({ code: error?.code ?? 0, text: stdout, stderr, report: JSON.parse(stdout) });
      });
    }));
  return { write, examine };
}

const of = ({ report }, check) => report.findings.filter((found) => found.check === check);

test("the lobby is asked whether it takes the token, and nothing goes live", async (t) => {
  const lobby = await Lobby.start();
  t.after(() => lobby.stop());
  const { write, examine } = await device(t);
  const url = `[lobby]\nurl = "${lobby.url}"\n[lobby.auth]\n`;
  const minted = `${url}secret_file = "secret"\nsubject = "porch"\n`;
  const ready = `${url}token_file = "token"\n`;

  await write("secret", lobby.secret);
  const taken = await examine(minted);
  assert.equal(taken.code, 0, taken.text);
  assert.match(of(taken, "lobby")[0].what, /takes tokens for "porch"; each is valid for 2 h/);

  await write("secret", "not-this-lobbys-secret-but-as-long-as-one");
  const refused = await examine(minted);
  assert.equal(refused.code, 1);
  const [fault] = of(refused, "lobby");
  assert.equal(fault.level, "fault");
  assert.match(fault.what, /refused the token: Authentication error/);
  assert.match(fault.mend, /\[lobby\.auth\]/);

  const token = mintToken(lobby.secret, { id: "porch" }, { expiresIn: "1h" });
  await write("token", token);
  const soon = await examine(ready);
  assert.equal(of(soon, "lobby")[0].level, "note");
  assert.match(of(soon, "lobby")[0].what, /only for (59 min|1 h)/);
  for (const { text, stderr } of [taken, refused, soon]) {
    for (const secret of [lobby.secret, token, token.split(".")[2]]) assert.ok(!(text + stderr).includes(secret), text);
  }

  assert.ok(lobby.connects((r) => r.accepted !== false).length >= 2);
  assert.deepEqual(lobby.sent("live:start"), []);
  assert.equal(lobby.stream, undefined);
});

test("TURN is asked for a relay with our credentials, STUN where it sees us", async (t) => {
  if (!Coturn.installed()) {
    if (process.env.CI) throw new Error("this needs coturn (apt-get install coturn)");
    return t.skip("this needs coturn (apt-get install coturn)");
  }
  const coturn = await Coturn.start("127.0.0.1");
  t.after(() => coturn.stop());
  const { write, examine } = await device(t);
  const lobby = `[embedded_lobby]\nenabled = true\nlisten = "127.0.0.1:0"\n`;
  const at = `127.0.0.1:${coturn.port}`;
  const servers = `[[ice.servers]]\nurl = "stun:${at}"\n`
    + `[[ice.servers]]\nurl = "turn:${at}?transport=udp"\nsecret_file = "turn"\n`
    + `[[ice.servers]]\nurl = "turn:${at}?transport=tcp"\nsecret_file = "turn"\n`;

  await write("turn", coturn.secret);
  const good = await examine(lobby + servers);
  const [stun, udp, tcp] = of(good, "ice");
  assert.match(stun.what, /answers, and sees us at 127\.0\.0\.1:\d+$/);
  for (const found of [udp, tcp]) {
    assert.deepEqual([found.level, /takes our credentials and gives a relay/.test(found.what)], ["ok", true], found.what);
  }
  assert.equal(good.code, 0, good.text);

  await write("turn", "another-secret");
  const bad = await examine(lobby + servers);
  assert.equal(bad.code, 1);
  const [, ...refused] = of(bad, "ice");
  for (const found of refused) {
    assert.equal(found.level, "fault");
    assert.match(found.what, /refuses our credentials: 401/);
    assert.match(found.mend, /clock/);
  }
  for (const { text, stderr } of [good, bad]) {
    for (const secret of [coturn.secret, "another-secret"]) assert.ok(!(text + stderr).includes(secret), text);
  }
});
