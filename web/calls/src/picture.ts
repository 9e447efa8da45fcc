/** The picture of a call: who spoke when. Pure: places are parts of the call's length, 0 to 1. */

import { type Part, wholeOf } from "./answers";
import type { Entry, Said, Tone } from "./timeline";

/** How fast people and voices speak, in milliseconds a character; rows say when somebody began, not how long it took. */
const MILLIS_PER_CHARACTER = 65;
const SHORTEST_MS = 500;
/** How many labels there are under the picture at most. */
const TICKS = 6;
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

export interface Span {
  from: number;
  to: number;
}

export interface Block extends Span {
  key: string;
  who: Said["who"];
  interrupted: boolean;
}

/** The wait for an answer, and its parts as parts of it. */
export interface Wait extends Span {
  key: string;
  millis: number;
  parts: Part[];
}

export interface Mark {
  key: string;
  at: number;
  tone: Tone;
  text: string;
}

export interface Picture {
  blocks: Block[];
  waits: Wait[];
  marks: Mark[];
  ticks: { at: number; seconds: number }[];
}

/** Returns the picture of a call that began and ended then, in milliseconds. */
export function pictureOf(entries: readonly Entry[], start: number, end: number): Picture {
  const said = entries.filter((entry) => entry.type === "said");
  const spoken = placed(said);
  const last = Math.max(end, start + 1000, ...spoken.map(({ to }) => Math.min(to, end)));
  const place = (time: number): number => Math.min(1, Math.max(0, (time - start) / (last - start)));
  return {
    blocks: spoken.map(({ entry, from, to }) => ({
      key: entry.key,
      who: entry.who,
      interrupted: entry.interrupted,
      from: place(from),
      to: place(to),
    })),
    waits: said.flatMap((entry) => {
      if (entry.time?.millis === undefined) return [];
      const { key, time } = entry;
      const began = Date.parse(entry.at);
      return [{ key, millis: wholeOf(time), parts: time.parts, from: place(began - wholeOf(time)), to: place(began) }];
    }),
    marks: entries.flatMap((entry) => markOf(entry, place)),
    ticks: ticksOf((last - start) / 1000),
  };
}

interface Spoken {
  entry: Said;
  from: number;
  to: number;
}

/**
 * Returns from when to when each was spoken, in milliseconds.
 *
 * An agent's row has when it began, a customer's when their turn was over: when they had finished, the answer's time tells.
 */
function placed(said: readonly Said[]): Spoken[] {
  const found: Spoken[] = [];
  said.forEach((entry, place) => {
    const length = Math.max(SHORTEST_MS, entry.text.length * MILLIS_PER_CHARACTER);
    const at = Date.parse(entry.at);
    const next = said[place + 1];
    if (entry.who === "agent") {
      const limit = next === undefined ? Infinity : Date.parse(next.at);
      found.push({ entry, from: at, to: Math.max(at + 1, Math.min(at + length, limit)) });
      return;
    }
    const answered = next?.who === "agent" && next.time?.millis !== undefined;
    // An answer that was lost with its agent comes later than its own time says.
    const to = answered ? Math.min(at, Date.parse(next.at) - (next.time?.millis ?? 0)) : at;
    const before = found.at(-1);
    // Who interrupts began while the other spoke; nobody else speaks over the one before.
    const soonest = before === undefined || before.entry.interrupted ? -Infinity : Math.min(before.to, to - 1);
    found.push({ entry, from: Math.max(to - length, soonest), to });
  });
  return found;
}

function markOf(entry: Entry, place: (time: number) => number): Mark[] {
  const { key } = entry;
  const at = place(Date.parse(entry.at));
  if (entry.type === "attempt") return [{ key, at, tone: "warn", text: `Agent ${entry.attempt}` }];
  if (entry.type !== "event" || entry.kind === "created" || entry.kind === "ended") return [];
  return entry.tone === "plain" ? [] : [{ key, at, tone: entry.tone, text: entry.text }];
}

function ticksOf(seconds: number): { at: number; seconds: number }[] {
  const step = STEPS_S.find((candidate) => seconds / candidate <= TICKS) ?? Math.ceil(seconds / TICKS / 3600) * 3600;
  const ticks = [];
  for (let now = 0; now <= seconds; now += step) ticks.push({ at: now / seconds, seconds: now });
  return ticks;
}
