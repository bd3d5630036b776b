/** What the page says about a watch's phase. */

import type { Camera, Rendition } from "./protocol";
import type { Phase, Why } from "./watch";

export interface Words {
  /** In the badge: short, in capitals where it shouts. */
  readonly badge: string;
  /** Over the picture; empty where the picture speaks for itself. */
  readonly state: string;
  readonly reason: string;
  /** The main button's name; undefined where there is nothing to press. */
  readonly button: string | undefined;
  readonly busy: boolean;
  /** Under the picture. */
  readonly note: string;
}

const RETRYING: Record<Why, string> = {
  line: "The connection to the lobby was lost.",
  "host-away": "The camera has left the lobby. Waiting for it to come back.",
  busy: "Many viewers are coming in at once.",
  "no-offer": "The camera did not answer.",
  "no-frame": "Connected, but no picture came.",
  media: "The connection to the camera broke off.",
  stalled: "No new picture is coming from the camera.",
  "hung-up": "The camera closed the connection.",
  offer: "The camera's offer could not be used.",
  codec: "This browser cannot decode the camera's video.",
};

const FAILED: Record<Why, string> = {
  ...RETRYING,
  "no-offer": "The camera is listed in the lobby but does not answer.",
  "no-frame": "The connection stands, but no picture comes from the camera.",
  media: "No network path to the camera was found. A firewall may be in the way.",
  codec: "This browser cannot decode the camera's video (H.264). Another browser may.",
};

/** In the badge of a stream that is on air. */
export const CAMERA_BADGE: Record<Camera, string> = { live: "LIVE", lost: "Camera lost", waiting: "No picture yet" };

/** Under the slate, which says it in the picture, and to those who do not see that. */
const CAMERA: Record<Camera, string> = {
  live: "",
  lost: "The camera is lost; the picture comes back by itself.",
  waiting: "The camera has given no picture yet; it comes by itself.",
};

/** Why the picture is the smaller one. */
const SMALLER: Record<Rendition["reason"], string> = {
  bandwidth: ": your connection or computer does not keep up with the full one",
  loss: ": too many packets are lost",
  retry: "",
  "": "",
};

const LOBBY_LOST = "The picture goes on, although the lobby cannot be asked about it at the moment.";

const NOTHING: Words = { badge: "", state: "", reason: "", button: undefined, busy: false, note: "" };

export function words(phase: Phase): Words {
  switch (phase.name) {
    case "connecting": {
      const again = phase.attempt > 1 ? `Attempt ${phase.attempt}` : "";
      return { ...NOTHING, badge: "Connecting", state: "Connecting …", reason: again, busy: true };
    }
    case "live":
      return {
        ...NOTHING,
        badge: CAMERA_BADGE[phase.camera],
        note: sentences(CAMERA[phase.camera], phase.lobbyLost ? LOBBY_LOST : ""),
      };
    case "reconnecting":
      return {
        ...NOTHING,
        badge: "Reconnecting",
        state: "Reconnecting …",
        reason: RETRYING[phase.why],
        button: "Try now",
        busy: true,
      };
    case "ended":
      if (phase.again) {
        return { ...NOTHING, badge: "Ended", state: "Ended", reason: "The camera is live again.", button: "Watch again" };
      }
      return {
        ...NOTHING,
        badge: "Ended",
        state: "Ended",
        reason: phase.waiting ? "If it comes back soon, it goes on here by itself." : "The stream is over.",
      };
    case "full":
      return {
        ...NOTHING,
        badge: "Full",
        state: "The camera is full",
        reason: `${places(phase.max)} You get in as soon as one is free.`,
        button: "Try now",
      };
    case "failed":
      return {
        ...NOTHING,
        badge: "Failed",
        state: "No picture",
        reason: phase.final ? FAILED[phase.why] : `${FAILED[phase.why]} Trying again every minute.`,
        button: "Try again",
      };
  }
}

function sentences(...said: string[]): string {
  return said.filter((sentence) => sentence !== "").join(" ");
}

function places(max: number | undefined): string {
  if (max === undefined) return "All its places are taken.";
  return max === 1 ? "Its only place is taken." : `All ${max} places are taken.`;
}

/** For those who do not see the page: said once at each change. */
export function announcement(phase: Phase, title: string): string {
  if (phase.name === "live") return `${title}: ${CAMERA[phase.camera] || "live"}`;
  const { state, reason } = words(phase);
  return `${title}: ${[state.replace(" …", ""), reason].filter((part) => part !== "").join(". ")}`;
}

/** Which rendition is on the screen, in the panel; undefined where nobody can say. */
export function pictureText(rendition: Rendition | undefined): string {
  if (!rendition) return "–";
  return rendition.name === "first" ? "Full size" : `Smaller${SMALLER[rendition.reason]}`;
}

/** The mark of a picture that is not the full one says this much of itself; undefined where it is. */
export function smallerText(rendition: Rendition | undefined): string | undefined {
  return rendition?.name === "second" ? `Smaller picture${SMALLER[rendition.reason]}` : undefined;
}
