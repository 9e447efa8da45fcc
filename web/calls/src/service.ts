/** The token service, as this page knows it: calls, one by one or in a list. */

import { type Problem, problemOf, UNREACHABLE } from "./problems";
import { apiQuery, type Search } from "./search";

const ANSWER_TIMEOUT_MS = 15_000;

/** A call in the list. */
export interface CallSummary {
  sessionId: string;
  room: string;
  profile: string;
  tenant: string | null;
  phase: string;
  reason: string | null;
  startedAt: string;
  endedAt: string | null;
  durationSeconds: number | null;
  attempts: number;
  answers: number;
  medianAnswerMillis: number | null;
  llmProvider: string | null;
}

export interface CallList {
  items: CallSummary[];
  next: string | null;
  seesAll: boolean;
  tenant: string | null;
  profiles: string[];
  reasons: string[];
}

export type LatencyName =
  "answerMillis" | "transcriptionMillis" | "endOfTurnMillis" | "llmFirstTokenMillis" | "ttsFirstByteMillis";
export type Latencies = Partial<Record<LatencyName, number>>;

/** A row of the conversation; `content` and what is in `tool` are strangers' words. */
export interface Item {
  itemId: string;
  at: string;
  attempt: number;
  kind: string;
  role: string | null;
  content: string | null;
  interrupted: boolean;
  latencies: Latencies | null;
  tool: Readonly<Record<string, unknown>> | null;
}

export interface CallEvent {
  at: string;
  kind: string;
  text: string;
}

export interface CallDetail {
  sessionId: string;
  room: string;
  profile: string;
  tenant: string | null;
  phase: string;
  reason: string | null;
  message: string | null;
  startedAt: string;
  agentJoinedAt: string | null;
  endedAt: string | null;
  endReason: string | null;
  attempts: number;
  llmProvider: string | null;
  localMode: boolean;
  usage: unknown;
  traceId: string | null;
  items: Item[];
  events: CallEvent[];
  others?: { sessionId: string; startedAt: string }[];
}

export type Answer<Value> = { value: Value; problem?: undefined } | { value?: undefined; problem: Problem };

/** Returns the calls of a search, newest first. */
export async function fetchCalls(search: Search, now: number): Promise<Answer<CallList>> {
  return ask<CallList>(`/api/calls?${apiQuery(search, now)}`, AbortSignal.timeout(ANSWER_TIMEOUT_MS));
}

/** Returns a room's call: of this session, or its newest; undefined once `signal` is aborted. */
export async function fetchCall(
  room: string,
  session: string | undefined,
  signal: AbortSignal,
): Promise<Answer<CallDetail> | undefined> {
  const query = session === undefined ? "" : `?${new URLSearchParams({ session })}`;
  const either = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]);
  const answer = await ask<CallDetail>(`/api/calls/${encodeURIComponent(room)}${query}`, either);
  return signal.aborted ? undefined : answer;
}

async function ask<Value>(address: string, signal: AbortSignal): Promise<Answer<Value>> {
  try {
    const answer = await fetch(address, { signal, cache: "no-store", headers: { Accept: "application/json" } });
    if (answer.ok) return { value: (await answer.json()) as Value };
    return { problem: problemOf(answer.status, await detailOf(answer)) };
  } catch {
    return { problem: UNREACHABLE };
  }
}

async function detailOf(answer: Response): Promise<string | undefined> {
  try {
    const body = (await answer.json()) as { detail?: unknown };
    return typeof body.detail === "string" ? body.detail : undefined;
  } catch {
    return undefined; // something else's answer, such as a proxy's
  }
}
