/** A call in the order of time: who said what, tools, notes, and what happened to its agents. Pure. */

import { type AnswerTime, answerTimeOf } from "./answers";
import type { CallDetail, CallEvent, Item } from "./service";
import { isRecord } from "./words";

export type Tone = "plain" | "good" | "warn" | "bad";

interface Base {
  key: string;
  at: string;
}

export interface Said extends Base {
  type: "said";
  who: "customer" | "agent";
  /** Counts from 1 with each time that the customer begins. */
  turn: number;
  text: string;
  interrupted: boolean;
  time: AnswerTime | undefined;
}

/** A tool's call and what came of it; `undefined` is what is not there (yet). */
export interface ToolUse extends Base {
  type: "tool";
  name: string;
  arguments: string | undefined;
  result: string | undefined;
  failed: boolean;
  millis: number | undefined;
}

/** What the agent's own code noted, under a role that nobody speaks in. */
export interface Note extends Base {
  type: "note";
  role: string;
  text: string;
}

export interface Handoff extends Base {
  type: "handoff";
  from: string;
  to: string;
}

export interface Happening extends Base {
  type: "event";
  kind: string;
  tone: Tone;
  text: string;
}

export interface Attempt extends Base {
  type: "attempt";
  attempt: number;
}

export type Entry = Said | ToolUse | Note | Handoff | Happening | Attempt;

const TONES: Record<string, Tone> = {
  created: "plain",
  claimed: "plain",
  joined: "plain",
  lost: "bad",
  failed: "bad",
  recovered: "good",
  moved: "warn",
  attempt: "warn",
  waiting: "warn",
  ended: "plain",
};
/** Events that say already why there is another agent. */
const SAYS_WHY = new Set(["attempt", "recovered", "moved"]);

/** Returns a call's entries; rows stay in the service's order, and events go where their time is. */
export function timelineOf(call: Pick<CallDetail, "items" | "events">): Entry[] {
  const rows = new RowReader().read(call.items);
  const events = call.events.map(happeningOf).toSorted((a, b) => Date.parse(a.at) - Date.parse(b.at));
  const merged: Entry[] = [];
  for (const row of rows) {
    while (events[0] !== undefined && Date.parse(events[0].at) <= Date.parse(row.at))
      merged.push(...events.splice(0, 1));
    merged.push(row);
  }
  return [...merged, ...events].filter((entry, place, all) => entry.type !== "attempt" || !isSaid(all, place));
}

/** Returns every answer's time. */
export function answerTimesOf(entries: readonly Entry[]): AnswerTime[] {
  return entries.flatMap((entry) => (entry.type === "said" && entry.time !== undefined ? [entry.time] : []));
}

/** Returns what was said, as text to copy. */
export function transcriptOf(entries: readonly Entry[]): string {
  const lines = entries.flatMap((entry) => {
    if (entry.type !== "said") return [];
    return `${entry.who === "agent" ? "Agent" : "Customer"}: ${entry.text}${entry.interrupted ? " [interrupted]" : ""}`;
  });
  return lines.join("\n");
}

class RowReader {
  private turn = 0;
  private speaker: Said["who"] | undefined;
  private attempt = 1;
  private question: Item["latencies"] = null;
  private readonly open = new Map<string, ToolUse>();

  read(items: readonly Item[]): Entry[] {
    return items.flatMap((item) => [...this.attemptBefore(item), ...this.entryOf(item)]);
  }

  private attemptBefore(item: Item): Entry[] {
    if (item.attempt <= this.attempt) return [];
    this.attempt = item.attempt;
    return [{ type: "attempt", key: `attempt-${item.attempt}`, at: item.at, attempt: item.attempt }];
  }

  private entryOf(item: Item): Entry[] {
    const base = { key: item.itemId, at: item.at };
    const tool = item.tool ?? {};
    switch (item.kind) {
      case "message":
        return [this.messageOf(item)];
      case "tool_call":
        return [this.toolOf(base, tool, readable(tool.arguments))];
      case "tool_result":
        return this.resultOf(item, tool);
      case "handoff":
        return [{ ...base, type: "handoff", from: String(tool.from ?? ""), to: String(tool.to ?? "") }];
      default:
        return [{ ...base, type: "note", role: item.kind, text: item.content ?? "" }];
    }
  }

  private messageOf(item: Item): Entry {
    const base = { key: item.itemId, at: item.at };
    if (item.role !== "user" && item.role !== "assistant") {
      return { ...base, type: "note", role: item.role ?? "unknown", text: item.content ?? "" };
    }
    const who = item.role === "user" ? "customer" : "agent";
    if (who === "customer" && this.speaker !== "customer") this.turn += 1;
    this.speaker = who;
    const said = { ...base, type: "said" as const, who, turn: this.turn, text: item.content ?? "" };
    return { ...said, interrupted: item.interrupted, time: this.timeOf(item, who) } as Said;
  }

  /** An answer's parts are in two rows: the question's has how long it took to understand it. */
  private timeOf(item: Item, who: Said["who"]): AnswerTime | undefined {
    const question = this.question;
    this.question = who === "customer" ? item.latencies : null;
    return who === "agent" ? answerTimeOf({ ...question, ...item.latencies }) : undefined;
  }

  private toolOf(base: Base, tool: Readonly<Record<string, unknown>>, given: string | undefined): ToolUse {
    const use: ToolUse = {
      ...base,
      type: "tool",
      name: String(tool.name ?? "") || "a tool",
      arguments: given,
      result: undefined,
      failed: false,
      millis: undefined,
    };
    this.open.set(String(tool.callId), use);
    return use;
  }

  private resultOf(item: Item, tool: Readonly<Record<string, unknown>>): Entry[] {
    const callId = String(tool.callId);
    const call = this.open.get(callId);
    this.open.delete(callId);
    const use = call ?? this.toolOf({ key: item.itemId, at: item.at }, tool, undefined);
    use.result = readable(item.content ?? "");
    use.failed = tool.isError === true;
    if (call !== undefined) use.millis = Math.max(0, Date.parse(item.at) - Date.parse(call.at));
    return call === undefined ? [use] : [];
  }
}

function happeningOf(event: CallEvent, place: number): Happening {
  const tone = (Object.hasOwn(TONES, event.kind) ? TONES[event.kind] : undefined) ?? "plain";
  return { type: "event", key: `event-${place}-${event.kind}`, at: event.at, kind: event.kind, tone, text: event.text };
}

/** Whether an event since the last row says why this attempt began. */
function isSaid(entries: readonly Entry[], place: number): boolean {
  for (let before = place - 1; before >= 0; before -= 1) {
    const entry = entries[before];
    if (entry?.type !== "event") return false;
    if (SAYS_WHY.has(entry.kind)) return true;
  }
  return false;
}

/** Returns what a tool was given or gave as text, JSON on lines of its own. */
function readable(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") return JSON.stringify(value, undefined, 2);
  try {
    const parsed: unknown = JSON.parse(value);
    return isRecord(parsed) || Array.isArray(parsed) ? JSON.stringify(parsed, undefined, 2) : value;
  } catch {
    return value; // plain words
  }
}
