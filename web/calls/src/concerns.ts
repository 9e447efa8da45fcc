/** What is bad about a call, worst first. Pure. */

import { median } from "../../src/timings";
import { count, latency, wordsOfOutcome } from "./words";

/** From here on an answer is slow: whoever waits so long asks whether somebody is there. */
export const SLOW_MS = 1500;
export const VERY_SLOW_MS = 3000;

/** End reasons that are nobody's wish. */
const BAD_REASONS = new Set(["error", "never_joined", "unknown", "shutdown"]);

export type Level = "bad" | "warn";

/** `about`: how the call stands or ended, how many agents it took, or how fast its answers are. */
export interface Concern {
  about: "outcome" | "agents" | "answers";
  level: Level;
  text: string;
}

export interface Judged {
  phase: string;
  reason: string | null;
  attempts: number;
  medianAnswerMillis: number | null;
}

/** Without a VoiceSession, a call whose end nobody wrote is over all the same. */
const OVER = new Set(["Ended", "Failed", "Open"]);

/** Returns whether a call is going on, as far as is known. */
export function isRunning(call: { phase: string; endedAt: string | null }): boolean {
  return call.endedAt === null && !OVER.has(call.phase);
}

/** Returns how slow an answer is, if it is. */
export function slowness(milliseconds: number | null | undefined): Level | undefined {
  if (milliseconds === null || milliseconds === undefined || milliseconds < SLOW_MS) return undefined;
  return milliseconds < VERY_SLOW_MS ? "warn" : "bad";
}

/** Returns what is bad about a call, worst first; none about a good one. */
export function concernsOf(call: Judged): Concern[] {
  const found: Concern[] = [];
  const standing = outcomeLevel(call);
  if (standing !== undefined) {
    found.push({ about: "outcome", level: standing, text: wordsOfOutcome(call.phase, call.reason) });
  }
  if (call.attempts > 1) found.push({ about: "agents", level: "warn", text: `${call.attempts} agents` });
  const slow = slowness(call.medianAnswerMillis);
  if (slow !== undefined)
    found.push({ about: "answers", level: slow, text: `slow: ${latency(call.medianAnswerMillis)}` });
  return found.toSorted((a, b) => rank(a.level) - rank(b.level));
}

/** Returns how bad it is how a call stands or ended, if it is. */
export function outcomeLevel({ phase, reason }: Pick<Judged, "phase" | "reason">): Level | undefined {
  if (phase === "Failed" || phase === "Recovering") return "bad";
  if (phase === "Ended") return reason !== null && BAD_REASONS.has(reason) ? "bad" : undefined;
  return phase === "Open" || phase === "Pending" ? "warn" : undefined;
}

/** Returns the worst level, if there is any. */
export function worst(concerns: readonly Concern[]): Level | undefined {
  return concerns[0]?.level;
}

/** Returns what a list of calls has in it, in a sentence. */
export function summaryOf(calls: readonly Judged[]): string {
  const failed = calls.filter(
    (call) => worst(concernsOf({ ...call, attempts: 1, medianAnswerMillis: null })) === "bad",
  );
  const again = calls.filter((call) => call.attempts > 1);
  const slow = calls.filter((call) => slowness(call.medianAnswerMillis) !== undefined);
  const answers = calls.flatMap((call) => call.medianAnswerMillis ?? []);
  const typical = median(answers);
  return [
    count(calls.length, "call"),
    ...(failed.length > 0 ? [`${failed.length} went wrong`] : []),
    ...(again.length > 0 ? [`${again.length} needed another agent`] : []),
    ...(slow.length > 0 ? [`${slow.length} slow`] : []),
    ...(typical === undefined ? [] : [`typical answer ${latency(typical)}`]),
  ].join(" · ");
}

function rank(level: Level): number {
  return level === "bad" ? 0 : 1;
}
