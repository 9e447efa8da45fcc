/** What happened at one moment of a call, as it is shown. */

import { type AnswerTime, wholeOf } from "./answers";
import { slowness } from "./concerns";
import { el } from "./dom";
import { chip, timeBar, timeNumbers, timeReading } from "./parts";
import type { Entry, Said, ToolUse } from "./timeline";
import { dayAndTime, latency, lengthReading, wordsOfEvent, wordsOfEventText } from "./words";

/** Returns the entry's element; `start`: when the call began, `scale`: its longest answer, both in milliseconds. */
export function entryView(entry: Entry, start: number, scale: number): HTMLElement {
  const { day, time } = dayAndTime(entry.at);
  const after = lengthReading((Date.parse(entry.at) - start) / 1000);
  const clock = el("time", { class: "at", datetime: entry.at, title: `${time}, ${day}` }, after);
  const attributes = { id: `at-${entry.key}`, class: "entry", "data-type": entry.type };
  switch (entry.type) {
    case "said":
      return el("li", { ...attributes, "data-who": entry.who }, clock, saidView(entry), measureView(entry.time, scale));
    case "tool":
      return el("li", attributes, clock, toolView(entry));
    case "note":
      return el("li", attributes, clock, el("p", { class: "aside" }, el("b", {}, entry.role), " ", entry.text));
    case "handoff":
      return el(
        "li",
        attributes,
        clock,
        el("p", { class: "aside" }, el("b", {}, "Handed over"), ` from ${entry.from} to ${entry.to}`),
      );
    case "attempt":
      return el(
        "li",
        { ...attributes, "data-tone": "warn" },
        clock,
        el("p", { class: "mark" }, el("b", {}, `Agent ${entry.attempt}`), " has the call from here on"),
      );
    case "event":
      return el(
        "li",
        { ...attributes, "data-tone": entry.tone },
        clock,
        el("p", { class: "mark" }, el("b", {}, wordsOfEvent(entry.kind)), " ", wordsOfEventText(entry.text)),
      );
  }
}

function saidView(said: Said): HTMLElement {
  return el(
    "div",
    { class: "said" },
    el("span", { class: "who" }, said.who === "agent" ? "Agent" : "Customer"),
    el("span", { class: "text" }, said.text),
    said.interrupted ? el("span", { class: "note" }, "interrupted") : undefined,
  );
}

function measureView(time: AnswerTime | undefined, scale: number): HTMLElement | undefined {
  if (time === undefined) return undefined;
  const slow = slowness(time.millis);
  return el(
    "div",
    { class: "measure" },
    el(
      "p",
      { class: "answer" },
      el("span", { class: "unseen" }, "Answered after "),
      el("b", { "data-level": slow }, timeReading(time)),
      slow === undefined ? undefined : chip(slow, "slow"),
    ),
    timeBar(time, Math.min(1, wholeOf(time) / scale)),
    timeNumbers(time),
  );
}

function toolView(use: ToolUse): HTMLElement {
  const took = use.millis === undefined ? "no result" : latency(use.millis);
  return el(
    "details",
    { class: "tool", "data-failed": use.failed },
    el(
      "summary",
      {},
      el("span", { class: "tool-word" }, "Tool"),
      el("code", {}, use.name),
      use.failed ? chip("bad", "failed") : undefined,
      el("span", { class: "soft" }, use.arguments === undefined && use.millis === undefined ? "" : took),
    ),
    ...blockOf("Asked with", use.arguments),
    ...blockOf(use.failed ? "Failed with" : "Answered", use.result),
  );
}

function blockOf(title: string, text: string | undefined): HTMLElement[] {
  if (text === undefined) return [];
  return [el("h3", {}, title), el("pre", { tabindex: "0", "aria-label": title, role: "region" }, text)];
}
