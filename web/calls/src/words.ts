/** What the page says of calls: outcomes, times, amounts. Pure. */

import { duration } from "../../src/durations";

const REASONS: Record<string, string> = {
  participant_left: "The customer hung up",
  never_joined: "Nobody joined",
  idle: "Nobody spoke any more",
  max_duration: "Longest time reached",
  room_closed: "The room was closed",
  ended_by_request: "The agent hung up",
  shutdown: "The pod was shut down",
  superseded: "Another agent took the room",
  error: "The agent failed",
  unknown: "Nobody wrote how it ended",
};

const PHASES: Record<string, string> = {
  Pending: "Waits for a pod",
  Starting: "The agent is coming",
  Active: "In progress",
  Running: "In progress",
  Open: "No end is written down",
  Recovering: "Without an agent",
  Ended: "Ended",
  Failed: "Failed",
};

/** Returns a reason as people read it: an end's, or a condition's (`OutOfMemory`: "Out of memory"). */
export function wordsOfReason(reason: string): string {
  const known = Object.hasOwn(REASONS, reason) ? REASONS[reason] : undefined;
  if (known !== undefined) return known;
  const words = reason.replaceAll("_", " ").replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1).toLowerCase();
}

/** Returns how a call stands, or how it ended. */
export function wordsOfOutcome(phase: string, reason: string | null): string {
  if (phase === "Ended" && reason) return wordsOfReason(reason);
  if (phase === "Failed" && reason) return `Failed: ${wordsOfReason(reason).toLowerCase()}`;
  return (Object.hasOwn(PHASES, phase) ? PHASES[phase] : undefined) ?? wordsOfReason(phase);
}

const EVENTS: Record<string, string> = {
  created: "Began",
  waiting: "Waits",
  claimed: "Has a pod",
  joined: "Agent joined",
  lost: "Agent lost",
  recovered: "Agent is back",
  moved: "Moved",
  attempt: "Next agent",
  working: "Still at work",
  ended: "Ended",
};

/** Returns what an event is called. */
export function wordsOfEvent(kind: string): string {
  return (Object.hasOwn(EVENTS, kind) ? EVENTS[kind] : undefined) ?? wordsOfReason(kind);
}

/** Returns an event's text with the reason it begins with as people read it: "OutOfMemory: x" as "Out of memory. x". */
export function wordsOfEventText(text: string): string {
  const [, reason, rest = ""] = /^([A-Za-z_]+)(?:: (.*))?$/s.exec(text) ?? [];
  return reason === undefined ? text : [wordsOfReason(reason), rest].filter(Boolean).join(". ");
}

/** Returns a length of a call: "0:07", "12:30", "1:02:03". */
export function lengthReading(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const tail = `${minutes}:${String(rest).padStart(2, "0")}`;
  return hours === 0 ? tail : `${hours}:${tail.padStart(5, "0")}`;
}

/** Returns milliseconds as people read them, or a dash where nobody measured. */
export function latency(milliseconds: number | null | undefined): string {
  return milliseconds === null || milliseconds === undefined ? "–" : duration(milliseconds);
}

/** Returns "1 call", "2 calls". */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** Returns a day and a clock's time; `zone`: the browser's where it is undefined. */
export function dayAndTime(iso: string, zone?: string): { day: string; time: string } {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return { day: "", time: "unknown" };
  const format = (options: Intl.DateTimeFormatOptions): string =>
    new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone }).format(date);
  return {
    day: format({ weekday: "short", day: "numeric", month: "short", year: "numeric" }),
    time: format({ hour: "2-digit", minute: "2-digit", second: "2-digit" }),
  };
}

/** Returns what a call's models were used for, one line each; what is not understood is left out. */
export function wordsOfUsage(usage: unknown): { model: string; amounts: string }[] {
  const models = isRecord(usage) && Array.isArray(usage.models) ? (usage.models as unknown[]) : [];
  return models.filter(isRecord).flatMap((model) => {
    const amounts = Object.entries(AMOUNTS).flatMap(([name, words]) => {
      const amount = model[name];
      return typeof amount === "number" && amount > 0 ? [words(amount)] : [];
    });
    const names = [model.provider, model.model].filter((name) => typeof name === "string" && name !== "");
    return amounts.length === 0 || names.length === 0 ? [] : [{ model: names.join(" "), amounts: amounts.join(", ") }];
  });
}

const number = new Intl.NumberFormat("en-GB");
const AMOUNTS: Record<string, (amount: number) => string> = {
  input_tokens: (amount) => `${number.format(amount)} tokens in`,
  output_tokens: (amount) => `${number.format(amount)} out`,
  characters_count: (amount) => `${number.format(amount)} characters`,
  audio_duration: (amount) => `${number.format(Math.round(amount))} s of sound`,
};

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
