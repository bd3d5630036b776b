import { describe, expect, it } from "vitest";
import { TIMES } from "../src/watch";
import { LIVE, Stage, reconnecting, stream } from "./watch-stage";

describe("a new line to the lobby", () => {
  it("keeps the picture, joins under the new name, and changes over with the first frame", () => {
    const stage = new Stage().live();
    stage.said();
    stage.do((watch, now) => watch.lineDown(now));
    expect(stage.phase).toEqual({ ...LIVE, lobbyLost: true });
    stage.flow(3_000);
    stage.peer = 1;
    stage.list([stream("s1")]);
    expect(stage.said()).toEqual(["join s1"]);
    expect(stage.phase).toEqual(LIVE);
    stage.offer();
    expect(stage.said()).toEqual(["open 2"]);
    stage.frame(2);
    expect(stage.said()).toEqual(["close 1", "show 2"]);
    expect(stage.phase).toEqual(LIVE);
  });

  it("goes on with the join when the old picture stops meanwhile", () => {
    const stage = new Stage().live().relisted([stream("s1")]);
    stage.said();
    stage.do((watch, now) => watch.peer(now, 1, "closed"));
    expect(stage.phase).toEqual(reconnecting("hung-up"));
    expect(stage.said()).toEqual(["close 1"]);
    stage.live();
    expect(stage.phase).toEqual(LIVE);
  });

  it("keeps a picture that flows when the host is back under a new id, and joins that only when it stops", () => {
    const stage = new Stage().live();
    stage.said();
    stage.relisted([stream("s2")]);
    stage.flow(60_000);
    expect(stage.said()).toEqual([]);
    expect(stage.phase).toEqual(LIVE);
    expect(stage.watch.stream.streamId).toBe("s2");
    stage.do((watch, now) => watch.peer(now, 1, "failed"));
    stage.pass(TIMES.retryFirst);
    expect(stage.said()).toEqual(["close 1", "leave s2", "join s2"]);
  });

  it("keeps a picture that flows while no host is in the lobby", () => {
    const stage = new Stage().live().relisted([]);
    stage.flow(300_000);
    expect(stage.phase).toEqual({ ...LIVE, lobbyLost: true });
    stage.list([stream("s2")]);
    expect(stage.phase).toEqual(LIVE);
  });

  it("joins anew what had not come to a picture", () => {
    const stage = new Stage();
    stage.said();
    stage.do((watch, now) => watch.lineDown(now));
    expect(stage.phase).toEqual(reconnecting("line"));
    stage.pass(60_000);
    expect(stage.said()).toEqual([]);
    stage.list([stream("s1")]);
    expect(stage.said()).toEqual(["join s1"]);
  });

  it("waits as long as the line is down, whatever was lost", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.lineDown(now));
    stage.do((watch, now) => watch.peer(now, 1, "failed"));
    stage.said();
    stage.pass(3_600_000);
    expect(stage.phase).toEqual(reconnecting("line"));
    expect(stage.said()).toEqual([]);
    stage.list([stream("s1")]);
    expect(stage.said()).toEqual(["join s1"]);
  });

  it("waits for a host that is away, joins it when it is back, and gives up after the grace", () => {
    const back = new Stage().live().relisted([]);
    back.do((watch, now) => watch.peer(now, 1, "failed"));
    expect(back.phase).toEqual(reconnecting("host-away"));
    back.pass(TIMES.grace - 1);
    expect(back.phase).toEqual(reconnecting("host-away"));
    back.said();
    back.list([stream("s2")]);
    expect(back.said()).toEqual(["join s2"]);

    const gone = new Stage().live().relisted([]);
    gone.do((watch, now) => watch.peer(now, 1, "failed"));
    gone.pass(TIMES.grace);
    expect(gone.phase).toEqual({ name: "ended", again: false, waiting: false });
  });
});

describe("a camera that is lost", () => {
  const lost = { camera: "lost" } as const;

  it("is told by the list, and so is its return", () => {
    const stage = new Stage().live();
    stage.said();
    stage.list([stream("s1", lost)]).flow(60_000);
    expect(stage.phase).toEqual({ ...LIVE, camera: "lost" });
    stage.list([stream("s1")]);
    expect(stage.phase).toEqual(LIVE);
    expect(stage.said()).toEqual([]);
  });

  it("is known to whoever comes, and after the host came back under a new id", () => {
    const stage = new Stage().list([stream("s1", lost)]).live();
    expect(stage.phase).toEqual({ ...LIVE, camera: "lost" });
    stage.relisted([stream("s2")]).flow(5_000);
    expect(stage.phase).toEqual(LIVE);
    stage.list([stream("s2", lost)]);
    expect(stage.phase).toEqual({ ...LIVE, camera: "lost" });
  });
});

describe("the end", () => {
  it("ends at once when the host hangs up after the lobby's word", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.list([]);
    expect(stage.phase).toEqual({ ...LIVE, lobbyLost: true });
    stage.do((watch, now) => watch.peer(now, 1, "closed"));
    expect(stage.phase).toEqual({ name: "ended", again: false, waiting: true });
  });

  it("ends soon when the picture merely stops after the lobby's word", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.pass(TIMES.endedStall);
    expect(stage.phase.name).toBe("ended");
  });

  it("is not fooled by a list from before the end", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.list([stream("s1")]);
    stage.pass(TIMES.endedStall);
    expect(stage.phase.name).toBe("ended");
  });

  it("keeps the picture when only the host's line broke", () => {
    const stage = new Stage().live();
    stage.said();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.list([]).flow(5_000).list([stream("s2")]).flow(60_000);
    expect(stage.phase).toEqual(LIVE);
    expect(stage.said()).toEqual([]);
  });

  it("goes on by itself when the host is back soon", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.do((watch, now) => watch.peer(now, 1, "closed"));
    stage.pass(TIMES.grace - 1).said();
    stage.list([stream("s2")]);
    expect(stage.said()).toEqual(["join s2"]);
    stage.live();
    expect(stage.phase).toEqual(LIVE);
  });

  it("offers to watch again when the host is back late, and withdraws that when it goes", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.pass(TIMES.endedStall + TIMES.grace).said();
    expect(stage.phase).toEqual({ name: "ended", again: false, waiting: false });
    stage.list([stream("s2")]);
    expect(stage.said()).toEqual([]);
    expect(stage.phase).toEqual({ name: "ended", again: true, waiting: false });
    stage.list([]);
    expect(stage.phase).toEqual({ name: "ended", again: false, waiting: false });
    stage.do((watch, now) => watch.retry(now));
    expect(stage.said()).toEqual([]);
    stage.list([stream("s3")]);
    stage.do((watch, now) => watch.retry(now));
    expect(stage.said()).toEqual(["join s3"]);
    expect(stage.phase).toEqual({ name: "connecting", attempt: 1 });
    stage.live();
    expect(stage.phase).toEqual(LIVE);
  });

  it("does not take the host's other streams for its return", () => {
    const yard = stream("s9", { title: "Yard" });
    const stage = new Stage([yard]).live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.do((watch, now) => watch.peer(now, 1, "closed"));
    stage.said();
    stage.list([yard, stream("s8", { hostUserId: "somebody" })]);
    expect(stage.said()).toEqual([]);
    stage.list([yard, stream("s2", { title: "Coop, renamed" })]);
    expect(stage.said()).toEqual(["join s2"]);
  });

  it("prefers the same title where a user comes back with two devices", () => {
    const stage = new Stage().live();
    stage.do((watch, now) => watch.ended(now, "s1"));
    stage.do((watch, now) => watch.peer(now, 1, "closed"));
    stage.said();
    stage.list([stream("s2", { title: "Yard" }), stream("s3", { title: "Barn" })]);
    expect(stage.said()).toEqual([]);
    stage.list([stream("s2", { title: "Yard" }), stream("s3", { title: "Barn" }), stream("s4")]);
    expect(stage.said()).toEqual(["join s4"]);
  });

  it("says goodbye and closes everything when the viewer leaves", () => {
    const stage = new Stage().live();
    stage.offer();
    stage.said();
    stage.do((watch) => watch.leave());
    expect(stage.said()).toEqual(["leave s1", "close 2", "close 1"]);
  });
});
