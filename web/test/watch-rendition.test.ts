import { expect, it } from "vitest";
import { FIRST, type Rendition } from "../src/protocol";
import { LIVE, Stage, stream } from "./watch-stage";

const SECOND: Rendition = { name: "second", reason: "bandwidth" };

function sent(stage: Stage, rendition: Rendition, streamId = stage.watch.stream.streamId): Rendition | undefined {
  stage.do((watch) => watch.sent({ streamId, rendition }));
  return stage.watch.rendition;
}

it("is the first where nobody says otherwise, and what the host said last", () => {
  const stage = new Stage();
  expect(stage.watch.rendition).toBeUndefined();
  stage.live();
  expect(stage.watch.rendition).toBe(FIRST);
  expect(sent(stage, SECOND)).toBe(SECOND);
  stage.flow(5_000);
  expect(stage.watch.rendition).toBe(SECOND);
  const retry: Rendition = { name: "first", reason: "retry" };
  expect(sent(stage, retry)).toBe(retry);
  expect(stage.phase).toEqual(LIVE);
});

it("is not another stream's, nor that of a connection that there is not", () => {
  const stage = new Stage();
  expect(sent(stage, SECOND)).toBeUndefined();
  stage.live();
  expect(stage.watch.rendition).toBe(FIRST);
  expect(sent(stage, SECOND, "s2")).toBe(FIRST);
});

it("may be said before the first frame", () => {
  const stage = new Stage().offer();
  expect(sent(stage, SECOND)).toBeUndefined();
  stage.frame();
  expect(stage.watch.rendition).toBe(SECOND);
});

it("begins with the first again for a new offer, and then is the new connection's", () => {
  const stage = new Stage().live();
  sent(stage, SECOND);
  stage.offer();
  expect(stage.watch.rendition, "the old picture is still that").toBe(SECOND);
  const loss: Rendition = { name: "second", reason: "loss" };
  expect(sent(stage, loss)).toBe(SECOND);
  stage.frame();
  expect(stage.watch.rendition).toBe(loss);
  stage.offer().frame();
  expect(stage.watch.rendition).toBe(FIRST);
});

it("is not known while the host cannot be heard", () => {
  const lineDown = new Stage().live();
  sent(lineDown, SECOND);
  lineDown.do((watch, now) => watch.lineDown(now));
  expect(lineDown.watch.rendition).toBeUndefined();
  lineDown.list([stream("s1")]).live();
  expect(lineDown.watch.rendition).toBe(FIRST);

  const hostAway = new Stage().live();
  sent(hostAway, SECOND);
  hostAway.list([]);
  expect(hostAway.phase).toEqual({ ...LIVE, lobbyLost: true });
  expect(hostAway.watch.rendition).toBeUndefined();

  // The host kept the branch, but under the new name this viewer has not joined.
  const successor = new Stage().live();
  sent(successor, SECOND);
  successor.list([stream("s2")]);
  expect(successor.phase).toEqual(LIVE);
  expect(successor.watch.rendition).toBeUndefined();
});
