// What can be measured of the page's looks: it fits a phone, and can be read in both colour schemes.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Stage } from "./stage.mjs";
import { closeBrowser } from "./visitor.mjs";

after(closeBrowser);

/** In the page: what sticks out sideways, what is too small to tap, what has no name, what is too faint. */
function faults() {
  const found = [];
  const visible = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const name = (element) => `<${element.tagName.toLowerCase()}> ${element.id} "${element.textContent.trim().slice(0, 40)}"`;
  if (document.documentElement.scrollWidth > window.innerWidth) {
    found.push(`the page is ${document.documentElement.scrollWidth} px wide in a window of ${window.innerWidth}`);
  }

  const rgba = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
  const over = ([r, g, b, a = 1], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    const colour = rgba(getComputedStyle(element).backgroundColor);
    const below = colour[3] === undefined ? [0, 0, 0] : ground(element.parentElement);
    return over(colour, below);
  };

  for (const element of document.querySelectorAll("body *")) {
    if (!visible(element) || element.closest(".sr, .overlay, .chip, svg")) continue;
    if (element.matches("button, input")) {
      const box = element.getBoundingClientRect();
      if (box.height < 24 || box.width < 24) found.push(`${name(element)} is ${box.width} × ${box.height} px`);
      const label = element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent;
      if (label.trim() === "" && !(element.labels?.length > 0)) found.push(`${name(element)} has no name`);
    }
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== "");
    if (!own) continue;
    const back = ground(element);
    const [dark, light] = [luminance(over(rgba(getComputedStyle(element).color), back)), luminance(back)].sort((a, b) => a - b);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) found.push(`${name(element)} has a contrast of ${contrast.toFixed(2)}`);
  }
  return found;
}

for (const colorScheme of ["light", "dark"]) {
  for (const [device, viewport] of [["phone", { width: 360, height: 740 }], ["desk", { width: 1366, height: 768 }]]) {
    test(`every view fits and reads well: ${device}, ${colorScheme}`, async (t) => {
      const stage = await Stage.set(t);
      const visitor = await stage.visitor({ viewport, colorScheme, reducedMotion: "reduce" });
      const look = async (view) => {
        await visitor.screenshot(view);
        assert.deepEqual(await visitor.page.evaluate(faults), [], view);
      };
      await visitor.open(stage.url);
      await visitor.sees("Open with the watch link");
      await look("key");
      await visitor.open(`${stage.url}/#${"x".repeat(22)}`);
      await visitor.sees("This watch link is wrong");
      await look("wrong");
      await visitor.open(stage.link);
      await visitor.sees("Nobody is live");
      await look("nobody");
      const host = await stage.host({ title: "Coop, the camera over the nesting boxes" });
      await visitor.seesLive();
      await visitor.button(/^Connection: (Excellent|Good|Fair|Poor)/).click();
      await visitor.sees("Jitter buffer");
      await look("live");
      await host.send("second", "bandwidth");
      await visitor.sees("Smaller: your connection or computer does not keep up with the full one");
      await look("smaller");
      await host.send("first", "retry");
      await visitor.sees("Full size");
      await stage.host({ title: "Yard", user: "yard" });
      await visitor.button("All streams").click();
      await visitor.line("Yard").waitFor();
      await look("list");
      await visitor.watch("Coop, the camera over the nesting boxes");
      await visitor.seesLive();
      await host.end();
      await visitor.sees("If it comes back soon");
      await look("ended");
      assert.deepEqual(visitor.complaints, []);
    });
  }
}
