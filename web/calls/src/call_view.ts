/** One call: what it was, its picture, and its turns. */

import { callAddress } from "./addresses";
import { slowestOf, typicalOf } from "./answers";
import { concernsOf, isRunning, outcomeLevel, slowness } from "./concerns";
import { announce, byId, el, KeyedList } from "./dom";
import { entryView } from "./entry_view";
import { chip, copyButton, problemView, standing, timeBar, timeNumbers, timeReading } from "./parts";
import { pictureOf } from "./picture";
import { pictureView } from "./picture_view";
import type { Problem } from "./problems";
import type { CallDetail } from "./service";
import { answerTimesOf, type Entry, timelineOf, transcriptOf } from "./timeline";
import { count, dayAndTime, latency, lengthReading, wordsOfOutcome, wordsOfUsage } from "./words";

export class CallView {
  private readonly head = el("div", { class: "title" });
  private readonly note = el("p", { class: "notice", role: "status", hidden: true });
  private readonly picture = el("section", { class: "panel picture", "aria-labelledby": "picture-title" });
  private readonly side = el("div", { class: "side" });
  private readonly list = el("ol", { id: "turns", class: "turns" });
  private readonly turns: HTMLElement;
  private readonly empty = el("p", { class: "empty" });
  private shown: CallDetail | undefined;
  private problem: Problem["code"] | undefined;
  private entries: Entry[] = [];
  private scale = 1;
  private readonly rows = new KeyedList<{ entry: Entry; start: number; scale: number }>(
    this.list,
    ({ entry }) => entry.key,
    ({ entry, start, scale }) => entryView(entry, start, scale),
  );

  /** `back`: the address of the list that somebody came from. */
  constructor(private readonly back: string) {
    this.turns = this.buildTurns();
  }

  showLoading(): void {
    const main = byId("main");
    main.replaceChildren(this.backLink(), el("p", { class: "summary", "aria-busy": "true" }, "Looking…"));
  }

  /** Shows why there is no call; one that is shown already stays, with a note. */
  showProblem(problem: Problem, retry: () => void): void {
    if (this.shown !== undefined && problem.code !== "signed-out") {
      this.note.textContent = `${problem.title}. What you see is older; it is asked for again.`;
      this.note.hidden = false;
      return;
    }
    if (this.problem === problem.code) return; // asked for again, and the same
    this.problem = problem.code;
    this.shown = undefined;
    byId("main").replaceChildren(this.backLink(), problemView(problem, retry));
    byId("headline").focus({ preventScroll: true });
  }

  showCall(call: CallDetail, now: number): void {
    const before = this.shown;
    this.entries = timelineOf(call);
    this.shown = call;
    this.problem = undefined;
    this.note.hidden = true;
    const start = Date.parse(call.startedAt);
    const end =
      call.endedAt === null ? (isRunning(call) ? now : lastOf(this.entries, start)) : Date.parse(call.endedAt);
    this.showHead(call, end - start);
    this.showSide(call);
    this.picture.replaceChildren(...pictureView(pictureOf(this.entries, start, end), this.entries));
    this.showTurns(start, isRunning(call));
    if (before === undefined) this.place();
    if (before !== undefined && before.phase !== call.phase) announce(wordsOfOutcome(call.phase, call.reason));
  }

  private place(): void {
    const body = el("div", { class: "body" }, this.side, this.turns);
    byId("main").replaceChildren(this.backLink(), this.head, this.note, this.picture, body);
    const { hash } = location;
    if (hash !== "") document.getElementById(hash.slice(1))?.scrollIntoView();
  }

  private backLink(): HTMLElement {
    return el("nav", { class: "back", "aria-label": "Back" }, el("a", { href: this.back }, "← Calls"));
  }

  private showHead(call: CallDetail, millis: number): void {
    const outcome = wordsOfOutcome(call.phase, call.endReason ?? call.reason);
    const typical = typicalOf(answerTimesOf(this.entries));
    const judged = { ...call, reason: call.endReason ?? call.reason, medianAnswerMillis: typical?.millis ?? null };
    const chips = concernsOf(judged).filter(({ about }) => about !== "outcome");
    document.title = `${outcome} · ${call.room}`;
    update(
      this.head,
      el("h1", { id: "headline", tabindex: "-1", "data-level": outcomeLevel(judged) }, standing(judged, outcome)),
      el("span", { class: "length" }, lengthReading(millis / 1000)),
      el("p", { class: "chips" }, ...chips.map(({ level, text }) => chip(level, text))),
      call.message === null || call.message === "" ? undefined : el("p", { class: "message" }, call.message),
      el(
        "p",
        { class: "name" },
        el("code", {}, call.room),
        copyButton("Copy", "the room's name", () => call.room),
      ),
    );
  }

  private showSide(call: CallDetail): void {
    const times = answerTimesOf(this.entries);
    const typical = typicalOf(times);
    const slowest = typical && slowestOf(typical);
    const time =
      typical &&
      el(
        "section",
        { class: "panel typical", "aria-labelledby": "typical-title" },
        el("h2", { id: "typical-title" }, "A typical answer"),
        el("p", { class: "big", "data-level": slowness(typical.millis) }, timeReading(typical)),
        timeBar(typical, 1),
        timeNumbers(typical),
        el("p", { class: "soft" }, `The middle of ${count(times.length, "answer")}. `, slowest && `Most: ${slowest}.`),
      );
    update(this.side, time, factsOf(call, times.length), othersOf(call));
  }

  private showTurns(start: number, running: boolean): void {
    const times = answerTimesOf(this.entries);
    this.scale = Math.max(1, ...times.map((time) => time.millis ?? 0));
    this.rows.show(this.entries.map((entry) => ({ entry, start, scale: this.scale })));
    const wordless = !this.entries.some((entry) => entry.type === "said");
    this.empty.hidden = !wordless;
    this.empty.textContent = running ? "Nobody has said anything yet." : "Nothing that was said is written down.";
  }

  private buildTurns(): HTMLElement {
    const only = el("input", { id: "words-only", type: "checkbox", role: "switch", autocomplete: "off" });
    const section = el(
      "section",
      { class: "panel conversation", "aria-labelledby": "turns-title" },
      el(
        "div",
        { class: "words-head" },
        el("h2", { id: "turns-title" }, "Turn by turn"),
        el("label", { class: "only" }, only, "Words only"),
        copyButton("Copy", "the transcript", () => transcriptOf(this.entries)),
      ),
      this.list,
      this.empty,
    );
    const show = (): void => {
      section.dataset.only = String(only.checked);
      section.querySelector("h2")!.textContent = only.checked ? "Transcript" : "Turn by turn";
    };
    only.checked = new URLSearchParams(location.search).has("words");
    only.addEventListener("change", () => {
      show();
      keepInAddress("words", only.checked);
    });
    show();
    return section;
  }
}

/** Puts a choice into the address, so that who gets it sees the same. */
function keepInAddress(name: string, chosen: boolean): void {
  const query = new URLSearchParams(location.search);
  if (chosen) query.set(name, "1");
  else query.delete(name);
  history.replaceState(null, "", `${location.pathname}${query.size === 0 ? "" : `?${query}`}${location.hash}`);
}

function factsOf(call: CallDetail, answers: number): HTMLElement {
  const began = dayAndTime(call.startedAt);
  const asked = call.events.find((event) => event.kind === "created")?.at ?? call.startedAt;
  const agentAfter = call.agentJoinedAt === null ? null : Date.parse(call.agentJoinedAt) - Date.parse(asked);
  const rows: [string, (Node | string)[] | undefined][] = [
    ["Began", [el("time", { datetime: call.startedAt }, `${began.time}, ${began.day}`)]],
    ["First agent after", agentAfter === null ? undefined : [latency(Math.max(0, agentAfter))]],
    ["Agents", [String(call.attempts)]],
    ["Answers", [String(answers)]],
    ["Profile", [call.profile]],
    ["Tenant", call.tenant ? [call.tenant] : undefined],
    ["Thinks with", call.localMode ? ["local models only"] : call.llmProvider ? [call.llmProvider] : undefined],
    ...wordsOfUsage(call.usage).map(({ model, amounts }): [string, string[]] => [model, [amounts]]),
  ];
  const ids = [idOf("Trace", call.traceId), idOf("Session", call.sessionId)];
  const terms = rows.flatMap(([term, value]) => (value ? [el("dt", {}, term), el("dd", {}, ...value)] : []));
  return el(
    "section",
    { class: "panel facts", "aria-labelledby": "facts-title" },
    el("h2", { id: "facts-title" }, "About this call"),
    el("dl", {}, ...terms),
    ...ids,
  );
}

function idOf(name: string, id: string | null): HTMLElement | undefined {
  if (!id) return undefined;
  const button = copyButton("Copy", `the ${name.toLowerCase()}'s id`, () => id);
  return el("p", { class: "id" }, el("span", { class: "soft" }, name), button, el("code", {}, id));
}

function othersOf(call: CallDetail): HTMLElement | undefined {
  const others = (call.others ?? []).filter((other) => other.sessionId !== call.sessionId);
  if (others.length === 0) return undefined;
  const links = others.map((other) => {
    const { day, time } = dayAndTime(other.startedAt);
    return el("li", {}, el("a", { href: callAddress(call.room, other.sessionId) }, `${time}, ${day}`));
  });
  return el(
    "section",
    { class: "panel others", "aria-labelledby": "others-title" },
    el("h2", { id: "others-title" }, "Other calls in this room"),
    el("ul", {}, ...links),
  );
}

function lastOf(entries: readonly Entry[], start: number): number {
  return Math.max(start, ...entries.map((entry) => Date.parse(entry.at)));
}

/** Puts children in only where they differ, and keeps the focus on what replaces its element. */
function update(parent: HTMLElement, ...children: (Node | undefined)[]): void {
  const next = children.filter((child) => child !== undefined);
  if (next.length === parent.childNodes.length && next.every((node, at) => node.isEqualNode(parent.childNodes[at]!)))
    return;
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const label = focused?.getAttribute("aria-label");
  parent.replaceChildren(...next);
  const again = [...parent.querySelectorAll<HTMLElement>("[aria-label], h1")].find((candidate) =>
    label ? candidate.getAttribute("aria-label") === label : candidate.id !== "" && candidate.id === focused?.id,
  );
  again?.focus({ preventScroll: true });
}
