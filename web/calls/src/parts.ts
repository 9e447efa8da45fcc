/** Small things that both views show: chips, bars of an answer's time, problems. */

import { type AnswerTime, type Part, PART_WORDS, wholeOf } from "./answers";
import { signInAddress } from "./addresses";
import { isRunning, type Level } from "./concerns";
import { announce, el, withProperties } from "./dom";
import type { Problem } from "./problems";
import { latency } from "./words";

const COPIED_MS = 2000;

export function chip(level: Level, text: string): HTMLElement {
  return el("span", { class: "chip", "data-level": level }, text);
}

/** How a call stands, with a dot that says whether it goes on, or how bad that is. */
export function standing(call: { phase: string; endedAt: string | null }, outcome: string): HTMLElement {
  return el("span", { class: "stand", "data-running": isRunning(call) }, outcome);
}

/** A bar as long as `part` of its place, with what an answer's time went into. */
export function timeBar(time: AnswerTime, part: number): HTMLElement {
  const pieces = time.parts.filter(({ share }) => share > 0).map(piece);
  const bar = el("div", { class: "bar", "aria-hidden": "true" }, ...pieces);
  return withProperties(bar, { "--part": String(part) });
}

export function piece({ name, share }: Part): HTMLElement {
  return withProperties(el("i", { "data-part": name }), { "--share": String(share) });
}

/** The numbers of an answer's parts, which are the bar's legend at once. */
export function timeNumbers(time: AnswerTime): HTMLElement {
  const rows = time.parts.map(({ name, millis }) => {
    const swatch = el("i", { class: "swatch", "data-part": name, "aria-hidden": "true" });
    return el("div", {}, el("dt", {}, swatch, PART_WORDS[name]), el("dd", {}, latency(millis)));
  });
  return el("dl", { class: "numbers" }, ...rows);
}

/** Returns how long an answer took, in words; a typed one's is known in part only. */
export function timeReading(time: AnswerTime): string {
  return time.millis === undefined ? `at least ${latency(wholeOf(time))}` : latency(time.millis);
}

/** A button that copies a text. */
export function copyButton(label: string, what: string, textOf: () => string): HTMLButtonElement {
  const button = el("button", { class: "quiet copy", type: "button", "aria-label": `${label} ${what}` }, label);
  button.addEventListener("click", () => {
    void copy(textOf()).then((copied) => {
      button.textContent = copied ? "Copied" : "Not allowed";
      announce(copied ? `Copied ${what}.` : "The browser did not allow copying.");
      window.setTimeout(() => (button.textContent = label), COPIED_MS);
    });
  });
  return button;
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // the browser does not allow it, or the page is not a secure one
  }
}

/** What is shown instead of calls; `retry` asks once more. */
export function problemView(problem: Problem, retry: () => void): HTMLElement {
  return el(
    "section",
    { class: "problem", "data-code": problem.code, "aria-labelledby": "headline" },
    el("h1", { id: "headline", tabindex: "-1" }, problem.title),
    el("p", {}, problem.advice),
    wayOut(problem, retry),
  );
}

function wayOut(problem: Problem, retry: () => void): HTMLElement {
  if (problem.code === "signed-out") {
    return el("a", { class: "primary", href: signInAddress(location.pathname + location.search) }, "Sign in");
  }
  if (problem.code === "missing" || problem.code === "forbidden") {
    return el("a", { class: "primary", href: "/calls" }, "All calls");
  }
  const button = el("button", { class: "primary", type: "button" }, "Try again");
  button.addEventListener("click", retry);
  return button;
}
