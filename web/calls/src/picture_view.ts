/** The picture of a call on the screen; whoever cannot see it has the same in the turns below. */

import { el, withProperties } from "./dom";
import { piece } from "./parts";
import type { Picture, Span } from "./picture";
import { PART_WORDS, type PartName } from "./answers";
import { SLOW_MS } from "./concerns";
import type { Entry } from "./timeline";
import { count, latency, lengthReading } from "./words";

/** Returns the picture's elements. */
export function pictureView(picture: Picture, entries: readonly Entry[]): HTMLElement[] {
  return [
    el("h2", { id: "picture-title" }, "Who spoke when"),
    el("p", { class: "unseen" }, inWords(picture, entries)),
    el(
      "div",
      { class: "lanes", "aria-hidden": "true" },
      lane("Customer", blocksOf(picture, "customer")),
      waitLane(picture),
      lane("Agent", blocksOf(picture, "agent")),
      el("div", { class: "over" }, ...marksOf(picture)),
      el("div", { class: "ticks" }, ...picture.ticks.map(tickOf)),
    ),
    legend(),
  ];
}

function lane(name: string, blocks: HTMLElement[]): HTMLElement {
  return el(
    "div",
    { class: "lane" },
    el("span", { class: "lane-name" }, name),
    el("div", { class: "track" }, ...blocks),
  );
}

function blocksOf(picture: Picture, who: "customer" | "agent"): HTMLElement[] {
  return picture.blocks
    .filter((block) => block.who === who)
    .map((block) => {
      const attributes = { class: "block", href: `#at-${block.key}`, tabindex: "-1", "data-who": who };
      return spanning(el("a", { ...attributes, "data-cut": block.interrupted }), block);
    });
}

/** Each wait as a column: as high as it was long, of what it went into. */
function waitLane(picture: Picture): HTMLElement {
  const longest = Math.max(SLOW_MS, ...picture.waits.map((wait) => wait.millis));
  const columns = picture.waits.map((wait) => {
    const attributes = { class: "wait", href: `#at-${wait.key}`, tabindex: "-1", title: latency(wait.millis) };
    const column = el("a", attributes, ...wait.parts.filter(({ share }) => share > 0).map(piece));
    return withProperties(spanning(column, wait), { "--height": String(wait.millis / longest) });
  });
  const limit = withProperties(el("i", { class: "limit" }), { "--height": String(SLOW_MS / longest) });
  const track = el("div", { class: "track" }, limit, ...columns);
  return el("div", { class: "lane waits" }, el("span", { class: "lane-name" }, "Wait"), track);
}

function marksOf(picture: Picture): HTMLElement[] {
  return picture.marks.map((mark) => {
    const attributes = {
      class: "flag",
      href: `#at-${mark.key}`,
      tabindex: "-1",
      "data-tone": mark.tone,
      title: mark.text,
    };
    return withProperties(el("a", attributes), { "--from": String(mark.at) });
  });
}

function tickOf({ at, seconds }: { at: number; seconds: number }): HTMLElement {
  return withProperties(el("span", {}, lengthReading(seconds)), { "--from": String(at) });
}

function legend(): HTMLElement {
  const parts = (Object.entries(PART_WORDS) as [PartName, string][]).map(([name, words]) =>
    el("li", {}, el("i", { class: "swatch", "data-part": name }), words),
  );
  const limit = el("li", {}, el("i", { class: "swatch limit" }), `${latency(SLOW_MS)}: slow`);
  return el("ul", { class: "legend", "aria-hidden": "true" }, ...parts, limit);
}

function spanning<Kind extends HTMLElement>(made: Kind, { from, to }: Span): Kind {
  return withProperties(made, { "--from": String(from), "--to": String(to) });
}

function inWords(picture: Picture, entries: readonly Entry[]): string {
  const turns = Math.max(0, ...entries.map((entry) => (entry.type === "said" ? entry.turn : 0)));
  const cut = picture.blocks.filter((block) => block.interrupted).length;
  const slow = picture.waits.filter((wait) => wait.millis >= SLOW_MS).length;
  return `${count(turns, "turn")}, ${count(slow, "slow answer")}, ${count(cut, "interruption")}. The list below has each.`;
}
