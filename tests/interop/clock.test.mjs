// A board without a battery for its clock: it wakes up in 1970, and the time is set later.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";

import { closeBrowser, Stage } from "./stage.mjs";
import { until } from "./until.mjs";

after(closeBrowser);

const LIBRARIES = ["x86_64", "aarch64", "arm"].map((machine) =>
  `/usr/lib/${machine}-linux-gnu${machine === "arm" ? "eabihf" : ""}/faketime/libfaketimeMT.so.1`);
const library = LIBRARIES.find((file) => existsSync(file));

/** The device's clock, as a file that libfaketime reads again and again. */
class Clock {
  static async at(t, time) {
    const self = new Clock();
    self.dir = await mkdtemp(path.join(tmpdir(), "perch-clock-"));
    t.after(() => rm(self.dir, { recursive: true, force: true }));
    self.file = path.join(self.dir, "time");
    await self.set(time);
    return self;
  }

  async set(time) {
    await writeFile(`${this.file}.new`, `${time}\n`);
    await rename(`${this.file}.new`, this.file);
  }

  get env() {
    return {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: this.file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    };
  }
}

/** In CI it must be there. */
function lacking() {
  if (!library && process.env.CI) throw new Error("this needs libfaketime (apt-get install faketime)");
  return library ? null : "this needs libfaketime (apt-get install faketime)";
}

test("a clock in 1970 is waited for, said once, and the host is live once the time is set", async (t) => {
  const reason = lacking();
  if (reason) return t.skip(reason);
  const clock = await Clock.at(t, "@1970-01-01 00:01:00");
  const stage = await Stage.set(t, { live: false, env: clock.env });
  const [line] = await until("a word about the clock", 20_000, () => {
    const lines = stage.daemon.lines(/reason="clock"/);
    return lines.length > 0 ? lines : null;
  }, () => stage.daemon.log);
  assert.match(line, /the clock says 1970-01-01/);
  assert.equal(stage.lobby.connects().length, 0, "a token of 1970 is not even tried");

  const set = Date.now();
  await clock.set("+0");
  stage.streamId = await stage.daemon.live(stage.lobby, { ms: 30_000 });
  stage.figure("from the time being set to live", Date.now() - set, "ms");
  assert.equal(stage.lobby.connects((r) => !r.accepted).length, 0, "no token was wasted");
  assert.equal(stage.daemon.lines(/WARN|ERROR/).length, 1, stage.daemon.log);
  // No picture is asked for: libfaketime stands between GStreamer's threads and what they wait for, and now and
  // then one of them waits for ever. With a clock that is really set, the emulated machine shows it.
});

test("a clock that is never set does not keep the host from trying", async (t) => {
  const reason = lacking();
  if (reason) return t.skip(reason);
  const clock = await Clock.at(t, "@1970-01-01 00:01:00");
  const stage = await Stage.set(t, { live: false, env: clock.env });
  await until("an attempt all the same", 120_000, () => stage.lobby.connects().length > 0, () => stage.daemon.log);
  assert.equal(stage.lobby.connects()[0].accepted, false, "the lobby's clock is right");
  assert.ok(stage.daemon.alive);
});
