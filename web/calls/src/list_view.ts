/** The list of calls, and what is searched for. */

import { callAddress } from "./addresses";
import { concernsOf, outcomeLevel, slowness, summaryOf, worst } from "./concerns";
import { announce, byId, el } from "./dom";
import { chip, problemView, standing } from "./parts";
import type { Problem } from "./problems";
import { addressOf, fieldOf, isoOf, narrows, readSearch, type Search, type Span } from "./search";
import type { CallList, CallSummary } from "./service";
import { dayAndTime, latency, lengthReading, wordsOfOutcome, wordsOfReason } from "./words";

const SPAN_WORDS: Record<Span, string> = { "1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days" };
const BETWEEN = "between";

export class ListView {
  private readonly search = readSearch(location.search);
  private readonly found = el("div", { id: "found", "aria-busy": "true" });
  private readonly summary = el("p", { id: "summary", class: "summary" });
  private readonly form: HTMLFormElement;

  constructor() {
    this.form = this.buildForm();
    byId("main").replaceChildren(
      el("div", { class: "title" }, el("h1", { id: "headline", tabindex: "-1" }, "Calls"), this.summary),
      this.form,
      this.found,
    );
  }

  showLoading(): void {
    this.found.setAttribute("aria-busy", "true");
    this.summary.textContent = "Looking…";
    const rows = Array.from({ length: 6 }, () => el("li", {}));
    this.found.replaceChildren(el("ol", { class: "waiting", "aria-hidden": "true" }, ...rows));
  }

  showProblem(problem: Problem, retry: () => void): void {
    if (problem.code === "signed-out") {
      byId("main").replaceChildren(problemView(problem, retry));
      return;
    }
    this.settle("");
    const view = problemView(problem, retry);
    const title = view.querySelector("h1");
    title?.replaceWith(el("h2", { id: "problem-title" }, problem.title));
    view.setAttribute("aria-labelledby", "problem-title");
    this.found.replaceChildren(view);
    announce(problem.title);
  }

  showCalls(list: CallList): void {
    this.showWho(list);
    this.offer("profile", list.profiles, (name) => name);
    this.offer("reason", list.reasons, wordsOfReason);
    if (list.items.length === 0) {
      this.settle("");
      this.found.replaceChildren(this.emptyView());
      announce("No calls found.");
      return;
    }
    this.settle(summaryOf(list.items));
    announce(summaryOf(list.items));
    this.found.replaceChildren(tableOf(list.items, list.seesAll), this.pager(list.next));
  }

  private settle(summary: string): void {
    this.found.setAttribute("aria-busy", "false");
    this.summary.textContent = summary;
  }

  private showWho(list: CallList): void {
    const tag = byId("tenant");
    tag.textContent = list.seesAll ? "All tenants" : (list.tenant ?? "");
    tag.hidden = tag.textContent === "";
    const tenant = this.form.querySelector<HTMLElement>("#tenant-field");
    if (tenant !== null) tenant.hidden = !list.seesAll;
  }

  private pager(next: string | null): HTMLElement {
    const older = next === null ? undefined : addressOf({ ...this.search, cursor: next });
    const newest = this.search.cursor === "" ? undefined : addressOf({ ...this.search, cursor: "" });
    return el(
      "nav",
      { class: "pager", "aria-label": "More calls" },
      newest === undefined ? el("span") : el("a", { href: newest, rel: "prev" }, "← Newest"),
      older === undefined ? el("span", {}, "No older calls") : el("a", { href: older, rel: "next" }, "Older →"),
    );
  }

  private emptyView(): HTMLElement {
    const searched = narrows(this.search) || this.search.cursor !== "";
    return el(
      "section",
      { class: "problem", "data-code": "empty" },
      el("h2", {}, searched ? "No such calls" : "No calls yet"),
      el(
        "p",
        {},
        searched ? "Nothing fits this search." : "A call is here as soon as somebody has asked for an agent.",
      ),
      searched ? el("a", { class: "primary", href: "/calls" }, "Show all calls") : undefined,
    );
  }

  private buildForm(): HTMLFormElement {
    const { search } = this;
    const span = select("since", [["", "Any time"], ...Object.entries(SPAN_WORDS), [BETWEEN, "Between"]] as [
      string,
      string,
    ][]);
    span.value = search.from !== "" || search.to !== "" ? BETWEEN : search.since;
    const between = el(
      "div",
      { class: "between" },
      field("From", el("input", { id: "from", type: "datetime-local", value: fieldOf(search.from) })),
      field("To", el("input", { id: "to", type: "datetime-local", value: fieldOf(search.to) })),
    );
    const tenant = field("Tenant", el("input", { id: "tenant-name", type: "search", value: search.tenant }));
    tenant.id = "tenant-field";
    tenant.hidden = search.tenant === "";
    const form = el(
      "form",
      { class: "search panel", role: "search", "aria-label": "Calls" },
      field("When", span),
      between,
      field("Profile", select("profile", [["", "Any"], ...own(search.profile, (name) => name)])),
      field("How it ended", select("reason", [["", "Any"], ...own(search.reason, wordsOfReason)])),
      tenant,
      field("Room", el("input", { id: "room", type: "search", value: search.room, spellcheck: "false" })),
      el("button", { class: "primary", type: "submit" }, "Search"),
      narrows(search) ? el("a", { class: "quiet", href: "/calls" }, "Clear") : undefined,
    );
    const showBetween = (): void => void (between.hidden = span.value !== BETWEEN);
    span.addEventListener("change", showBetween);
    showBetween();
    form.querySelector<HTMLSelectElement>("#profile")!.value = search.profile;
    form.querySelector<HTMLSelectElement>("#reason")!.value = search.reason;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      location.assign(addressOf(this.chosen()));
    });
    return form;
  }

  private chosen(): Search {
    const value = (id: string): string =>
      this.form.querySelector<HTMLInputElement | HTMLSelectElement>(`#${id}`)?.value.trim() ?? "";
    const since = value("since");
    const between = since === BETWEEN;
    return {
      since: between ? "" : (since as Span | ""),
      from: between ? isoOf(value("from")) : "",
      to: between ? isoOf(value("to")) : "",
      profile: value("profile"),
      reason: value("reason"),
      tenant: value("tenant-name"),
      room: value("room"),
      cursor: "",
    };
  }

  /** Puts what there is into a list of choices, without taking away what is chosen. */
  private offer(id: string, values: readonly string[], wordsOf: (value: string) => string): void {
    const choice = this.form.querySelector<HTMLSelectElement>(`#${id}`);
    if (choice === null) return;
    const chosen = choice.value;
    const all = values.includes(chosen) || chosen === "" ? values : [chosen, ...values];
    choice.replaceChildren(new Option("Any", ""), ...all.map((value) => new Option(wordsOf(value), value)));
    choice.value = chosen;
  }
}

function own(value: string, wordsOf: (value: string) => string): [string, string][] {
  return value === "" ? [] : [[value, wordsOf(value)]];
}

function field(label: string, input: HTMLElement): HTMLLabelElement {
  return el("label", {}, el("span", {}, label), input);
}

function select(id: string, options: readonly (readonly [string, string])[]): HTMLSelectElement {
  return el("select", { id, autocomplete: "off" }, ...options.map(([value, label]) => new Option(label, value)));
}

function tableOf(calls: readonly CallSummary[], withTenant: boolean): HTMLElement {
  const heads = ["Began", "Call", "How it stands", "Length", "Answers", "Typical answer"];
  return el(
    "table",
    { class: "calls panel" },
    el("caption", { class: "unseen" }, "Calls, newest first"),
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...calls.map((call) => rowOf(call, withTenant))),
  );
}

function rowOf(call: CallSummary, withTenant: boolean): HTMLElement {
  const concerns = concernsOf(call);
  const { day, time } = dayAndTime(call.startedAt);
  const outcome = standing(call, wordsOfOutcome(call.phase, call.reason));
  const agents = concerns.filter(({ about }) => about === "agents");
  const slow = slowness(call.medianAnswerMillis);
  return el(
    "tr",
    { "data-level": worst(concerns) },
    cell("began", el("time", { datetime: call.startedAt }, el("b", {}, time), el("small", {}, day))),
    cell(
      "room",
      el("a", { href: callAddress(call.room, call.sessionId) }, call.room),
      el("small", {}, [call.profile, ...(withTenant && call.tenant ? [call.tenant] : [])].join(" · ")),
    ),
    cell(
      "outcome",
      el("span", { "data-level": outcomeLevel(call) }, outcome),
      ...agents.map(({ level, text }) => chip(level, text)),
    ),
    cell("length", call.durationSeconds === null ? "–" : lengthReading(call.durationSeconds)),
    cell("answers", String(call.answers)),
    cell(
      "speed",
      slow && chip(slow, "slow"),
      el("span", { class: "millis", "data-level": slow }, latency(call.medianAnswerMillis)),
    ),
  );
}

function cell(name: string, ...children: (Node | string | undefined)[]): HTMLElement {
  return el("td", { class: name }, ...children);
}
