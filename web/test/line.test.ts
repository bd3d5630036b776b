import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Line, type LineState, type SocketLike } from "../src/line";
import type { TokenReply } from "../src/token";

/** A socket that does nothing by itself, and remembers what it was told. */
class Socket implements SocketLike {
  auth: unknown;
  connected = false;
  readonly log: string[] = [];
  readonly #listeners = new Map<string, (...args: any[]) => void>();

  connect() {
    this.log.push(`connect ${(this.auth as { token: string }).token}`);
  }

  disconnect() {
    if (!this.connected) return;
    this.connected = false;
    this.say("disconnect", "io client disconnect");
  }

  on(event: string, listener: (...args: any[]) => void) {
    this.#listeners.set(event, listener);
  }

  emit(event: string) {
    this.log.push(event);
  }

  timeout() {
    return { emit: (event: string, ...args: unknown[]) => this.#ask(event, args.at(-1) as (...reply: unknown[]) => void) };
  }

  reply: unknown[] = [null, []];
  #ask(event: string, acknowledge: (...reply: unknown[]) => void) {
    this.log.push(event);
    acknowledge(...this.reply);
  }

  say(event: string, ...args: unknown[]) {
    if (event === "connect") this.connected = true;
    if (event === "disconnect") this.connected = false;
    this.#listeners.get(event)?.(...args);
  }
}

let socket: Socket;
let line: Line;
let states: string[];
let replies: TokenReply[];
let asked: string[];

/** Lets the token's answer through. */
const settle = () => vi.advanceTimersByTimeAsync(0);
const refuse = () => socket.say("connect_error", new Error("Authentication error"));

beforeEach(() => {
  vi.useFakeTimers();
  socket = new Socket();
  states = [];
  replies = [];
  asked = [];
  let minted = 0;
  const token = async (key: string): Promise<TokenReply> => {
    asked.push(key);
    return replies.shift() ?? { kind: "token", token: `t${++minted}` };
  };
  line = new Line(socket, token, (state: LineState) => states.push(state.name), () => 1);
});

afterEach(() => {
  vi.useRealTimers();
});

describe("dialling", () => {
  it("asks for a token with the key and connects with it", async () => {
    line.use("key");
    await settle();
    expect(asked).toEqual(["key"]);
    expect(socket.log).toEqual(["connect t1"]);
    socket.say("connect");
    expect(states).toEqual(["dialling", "up"]);
  });

  it.each(["transport close", "ping timeout", "io server disconnect"])(
    "dials again with a fresh token after %s",
    async (reason) => {
      line.use("key");
      await settle();
      socket.say("connect");
      socket.say("disconnect", reason);
      expect(line.state.name).toBe("down");
      await vi.advanceTimersByTimeAsync(1_000);
      expect(socket.log).toEqual(["connect t1", "connect t2"]);
      socket.say("connect");
      expect(states).toEqual(["dialling", "up", "down", "dialling", "up"]);
    },
  );

  it("waits longer after each failure, and starts anew after a success", async () => {
    line.use("key");
    await settle();
    for (const wait of [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
      const before = socket.log.length;
      socket.say("connect_error", new Error("websocket error"));
      await vi.advanceTimersByTimeAsync(wait - 1);
      expect(socket.log).toHaveLength(before);
      await vi.advanceTimersByTimeAsync(1);
      expect(socket.log).toHaveLength(before + 1);
    }
    socket.say("connect");
    socket.say("disconnect", "transport close");
    const before = socket.log.length;
    await vi.advanceTimersByTimeAsync(1_000);
    expect(socket.log).toHaveLength(before + 1);
  });

  it("gives up a dial that nobody answers", async () => {
    line.use("key");
    await settle();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(line.state.name).toBe("down");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(socket.log).toEqual(["connect t1", "connect t2"]);
  });

  it("does not wait on when it is poked, and only then", async () => {
    replies = [{ kind: "later", afterMs: undefined }];
    line.use("key");
    await settle();
    expect(line.state.name).toBe("down");
    line.poke();
    await settle();
    expect(socket.log).toEqual(["connect t1"]);
    line.poke();
    await settle();
    expect(socket.log).toEqual(["connect t1"]);
    // The retry that was waiting is gone.
    socket.say("connect");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(socket.log).toEqual(["connect t1"]);
  });

  it("waits as long as the lobby asks for", async () => {
    replies = [{ kind: "later", afterMs: 60_000 }];
    line.use("key");
    await settle();
    await vi.advanceTimersByTimeAsync(59_999);
    expect(asked).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(asked).toHaveLength(2);
  });
});

describe("being refused", () => {
  it("stops at a key that is not taken, until there is another", async () => {
    replies = [{ kind: "denied" }];
    line.use("old");
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(line.state.name).toBe("denied");
    expect(asked).toEqual(["old"]);
    line.use("new");
    await settle();
    socket.say("connect");
    expect(asked).toEqual(["old", "new"]);
    expect(states).toEqual(["dialling", "denied", "dialling", "up"]);
  });

  it("tries a fresh token once, then stops", async () => {
    line.use("key");
    await settle();
    refuse();
    expect(line.state.name).toBe("down");
    await vi.advanceTimersByTimeAsync(1_000);
    refuse();
    expect(line.state.name).toBe("denied");
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(socket.log).toEqual(["connect t1", "connect t2"]);
  });

  it("does not count refusals that lie a success apart", async () => {
    line.use("key");
    await settle();
    for (let n = 0; n < 5; n++) {
      refuse();
      await vi.advanceTimersByTimeAsync(2_000);
      socket.say("connect");
      socket.say("disconnect", "transport close");
      await vi.advanceTimersByTimeAsync(2_000);
    }
    expect(states).not.toContain("denied");
  });
});

describe("hanging up", () => {
  it("is quiet without a key", async () => {
    line.use("key");
    await settle();
    socket.say("connect");
    line.use(undefined);
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(states).toEqual(["dialling", "up", "idle"]);
    expect(socket.connected).toBe(false);
    expect(socket.log).toEqual(["connect t1"]);
  });

  it("does not use a token that comes after it", async () => {
    line.use("key");
    line.use(undefined);
    await settle();
    expect(socket.log).toEqual([]);
    expect(line.state.name).toBe("idle");
  });

  it("says nothing into a dead line", async () => {
    line.use("key");
    await settle();
    line.send("live:leave", {});
    expect(await line.ask("live:list", [], 1_000)).toBeUndefined();
    expect(socket.log).toEqual(["connect t1"]);
    socket.say("connect");
    line.send("live:leave", {});
    expect(await line.ask("live:list", [], 1_000)).toEqual([]);
    socket.reply = [new Error("operation has timed out")];
    expect(await line.ask("live:list", [], 1_000)).toBeUndefined();
    expect(socket.log).toEqual(["connect t1", "live:leave", "live:list", "live:list"]);
  });
});
