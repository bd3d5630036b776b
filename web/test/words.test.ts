import { expect, it } from "vitest";
import { announcement, pictureText, smallerText, words } from "../src/words";
import { FIRST, type Rendition } from "../src/protocol";
import type { Phase, Why } from "../src/watch";

const WHYS: Why[] = ["line", "host-away", "no-offer", "no-frame", "media", "stalled", "hung-up", "offer", "codec"];

const PHASES: Phase[] = [
  { name: "connecting", attempt: 1 },
  { name: "connecting", attempt: 2 },
  { name: "ended", again: false, waiting: true },
  { name: "ended", again: false, waiting: false },
  { name: "ended", again: true, waiting: false },
  { name: "full", max: undefined },
  { name: "full", max: 1 },
  { name: "full", max: 4 },
  ...WHYS.flatMap((why): Phase[] => [
    { name: "reconnecting", why },
    { name: "failed", why, final: false },
    { name: "failed", why, final: true },
  ]),
];

it("says over the picture what is the matter, in every phase but Live", () => {
  for (const phase of PHASES) {
    const said = words(phase);
    expect(said.state, JSON.stringify(phase)).not.toBe("");
    expect(said.badge, JSON.stringify(phase)).not.toBe("");
    if (phase.name !== "connecting") expect(said.reason, JSON.stringify(phase)).toMatch(/\.$/);
    if (["reconnecting", "full", "failed"].includes(phase.name)) expect(said.button).toBeDefined();
  }
  expect(words({ name: "live", lobbyLost: false, camera: "live" })).toMatchObject({ badge: "LIVE", state: "", note: "" });
  expect(words({ name: "live", lobbyLost: true, camera: "live" }).note).not.toBe("");
});

it("counts the places of a full camera", () => {
  expect(words({ name: "full", max: 1 }).reason).toMatch(/^Its only place is taken\./);
  expect(words({ name: "full", max: 4 }).reason).toMatch(/^All 4 places are taken\./);
});

it("offers to watch again only where that can come true", () => {
  expect(words({ name: "ended", again: true, waiting: false }).button).toBe("Watch again");
  expect(words({ name: "ended", again: false, waiting: false }).button).toBeUndefined();
});

it("announces each change in a sentence", () => {
  expect(announcement({ name: "connecting", attempt: 1 }, "Coop")).toBe("Coop: Connecting");
  expect(announcement({ name: "live", lobbyLost: true, camera: "live" }, "Coop")).toBe("Coop: live");
  expect(announcement({ name: "full", max: 1 }, "Coop")).toBe(
    "Coop: The camera is full. Its only place is taken. You get in as soon as one is free.",
  );
});

it("says what the slate stands for, and that nothing has to be done about it", () => {
  const lost = words({ name: "live", lobbyLost: false, camera: "lost" });
  expect(lost).toMatchObject({ badge: "Camera lost", state: "", button: undefined });
  expect(lost.note).toBe("The camera is lost; the picture comes back by itself.");
  const waiting = words({ name: "live", lobbyLost: true, camera: "waiting" });
  expect(waiting.badge).not.toBe("LIVE");
  expect(waiting.note).toMatch(/no picture yet.*by itself\. The picture goes on, although the lobby/);
  expect(announcement({ name: "live", lobbyLost: false, camera: "lost" }, "Coop")).toBe(
    "Coop: The camera is lost; the picture comes back by itself.",
  );
});

it("says which size the picture has, and of the smaller one why", () => {
  const second = (reason: Rendition["reason"]): Rendition => ({ name: "second", reason });
  expect(pictureText(FIRST)).toBe("Full size");
  expect(pictureText({ name: "first", reason: "retry" })).toBe("Full size");
  expect(pictureText(undefined)).toBe("–");
  expect(pictureText(second("bandwidth"))).toBe("Smaller: your connection or computer does not keep up with the full one");
  expect(pictureText(second("loss"))).toBe("Smaller: too many packets are lost");
  expect(pictureText(second(""))).toBe("Smaller");
  expect(smallerText(second("loss"))).toBe("Smaller picture: too many packets are lost");
  expect(smallerText(second(""))).toBe("Smaller picture");
  for (const none of [FIRST, undefined]) expect(smallerText(none)).toBeUndefined();
});
