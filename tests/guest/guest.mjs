// A running guest, whatever runs it: questions to its systemd and its journal, viewers in it.

import { until } from "../interop/until.mjs";
import { ADDRESS, OWN_LOBBY } from "./install.mjs";

export class Guest {
  #viewers = 0;

  /**
   * @param {{execute: (script: string, seconds: number) => Promise<{code: number, out: string}>}} machine
   * @param {object} options
   * @param {number} [options.patience] multiplies every deadline: an emulated machine is slow
   * @param {string} [options.lobby] where viewers go
   */
  constructor(machine, { patience = 1, lobby = OWN_LOBBY } = {}) {
    this.machine = machine;
    this.patience = patience;
    this.lobby = lobby;
  }

  /** A shell script's exit code and what it printed. */
  attempt(script, seconds = 30) {
    return this.machine.execute(script, seconds * this.patience);
  }

  /** A shell script's output; one that fails is an error. */
  async run(script, seconds = 30) {
    const { code, out } = await this.attempt(script, seconds);
    if (code !== 0) throw new Error(`${script.trim().slice(0, 300)}\nended with ${code}:\n${out.slice(-2000)}`);
    return out.trimEnd();
  }

  async write(file, text) {
    const encoded = Buffer.from(text).toString("base64");
    await this.run(`mkdir -p "$(dirname ${file})" && echo ${encoded} | base64 -d >${file}`);
  }

  until(what, seconds, look, state = () => this.state()) {
    return until(what, seconds * 1000 * this.patience, look, state, 100 * this.patience);
  }

  /** Properties of a unit, as texts. */
  async show(unit, ...names) {
    const out = await this.run(`systemctl show ${unit} ${names.map((name) => `-p ${name}`).join(" ")}`);
    return Object.fromEntries(out.split("\n").map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
  }

  /** What one wants to see of Perch when something fails. */
  async state() {
    const properties = await this.show("perch", "ActiveState", "SubState", "StatusText", "NRestarts", "Result", "ExecMainStatus");
    const { out } = await this.attempt("journalctl -u perch -o cat -n 12");
    return { ...properties, journal: out };
  }

  async pid() {
    return Number((await this.show("perch", "MainPID")).MainPID);
  }

  async restarts() {
    return Number((await this.show("perch", "NRestarts")).NRestarts);
  }

  /** Waits for a state such as "active". */
  becomes(state, seconds = 30) {
    return this.until(`perch.service to be ${state}`, seconds, async () => (await this.show("perch", "ActiveState")).ActiveState === state);
  }

  /** Waits for a sentence in STATUS=. */
  says(pattern, seconds = 30) {
    return this.until(`a status like ${pattern}`, seconds, async () => {
      const { StatusText } = await this.show("perch", "StatusText");
      return pattern.test(StatusText) ? StatusText : null;
    });
  }

  /** A moment in the journal, to read on from: microseconds that no change of the clock touches. */
  async mark() {
    const [last] = await this.#entries("-n 1");
    return Number(last.__MONOTONIC_TIMESTAMP);
  }

  /**
   * Entries of this boot's journal as objects; `match` is what one would give journalctl.
   * Not with --after-cursor: with a match, systemd 252 leaves out the first entry that fits.
   */
  async journal(match, after = 0) {
    return (await this.#entries(match)).filter((entry) => Number(entry.__MONOTONIC_TIMESTAMP) > after);
  }

  async #entries(match) {
    // It ends with 1 when nothing fits.
    const { out } = await this.attempt(`journalctl -b -o json --all ${match}`, 60);
    return out.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  }

  /** Waits for an entry of the journal. */
  entry(match, after, seconds = 30) {
    return this.until(`a journal entry ${match}`, seconds, async () => (await this.journal(match, after))[0]);
  }

  /** Runs `act` with Perch started afresh under a drop-in, and afterwards as before. */
  withDropIn(text, act) {
    return this.#with("/run/systemd/system/perch.service.d/test.conf", text, act);
  }

  /** Runs `act` with Perch started afresh under other settings, and afterwards as before. */
  withSettings(text, act) {
    return this.#with("/etc/perch/conf.d/50-test.toml", text, act);
  }

  async #with(file, text, act) {
    await this.write(file, text);
    try {
      // What comes of it is for `act` to see.
      await this.attempt("systemctl daemon-reload && systemctl restart --no-block perch");
      return await act();
    } finally {
      await this.run(`rm -f ${file} && systemctl daemon-reload && systemctl reset-failed perch && systemctl restart perch`, 90);
    }
  }

  /** A viewer that watches for so many seconds; `report()` waits for its end. */
  async viewer(seconds, count = 1) {
    const name = `viewer-${(this.#viewers += 1)}`;
    await this.run(`systemd-run --quiet --collect --unit=${name} --service-type=exec -p StandardOutput=file:/run/${name}.json -p StandardError=journal \\
      swarm watch --lobby ${this.lobby} --secret-file /etc/lobby-secret --address ${ADDRESS} --seconds ${seconds} --viewers ${count}`);
    return {
      name,
      report: async () => {
        await this.until(`${name} to end`, seconds + 60, async () => (await this.attempt(`systemctl is-active --quiet ${name}`)).code !== 0);
        const text = await this.run(`cat /run/${name}.json`);
        if (!text.startsWith("{")) throw new Error(`${name} reported nothing: ${await this.run(`journalctl -u ${name} -o cat`)}`);
        return JSON.parse(text);
      },
    };
  }
}
