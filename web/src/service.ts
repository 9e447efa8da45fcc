/** The token service, as every client knows it: profiles, a token, and what is left of a call. */

import { TokenSource, type TokenSourceFetchOptions, type TokenSourceResponseObject } from "livekit-client";

import { ProblemError, tokenProblem } from "./problems";

const ANSWER_TIMEOUT_MS = 10_000;

export interface Profile {
  name: string;
  displayName: string;
  providers: string[];
  localMode: boolean;
}

/** What the customer chose; undefined where there was no choice. */
export interface Choices {
  profile: string | undefined;
  provider: string | undefined;
  localMode: boolean;
}

/** Who may ask about a call: its room, and the participant's own token. */
export interface Pass {
  serverUrl: string;
  room: string;
  token: string;
}

export interface TranscriptItem {
  role: string;
  content: string;
  interrupted: boolean;
  createdAt: string;
  kind: string;
}

/** How a call stands for the service; only what it knows. */
export interface CallStatus {
  phase?: string;
  message?: string;
  endReason?: string;
  retryAfterSeconds?: number;
}

/** Returns the profiles on offer; none where the service does not tell. */
export async function fetchProfiles(): Promise<Profile[]> {
  try {
    const answer = await fetch("/api/profiles", { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    if (!answer.ok) return [];
    return ((await answer.json()) as { profiles: Profile[] }).profiles;
  } catch {
    return []; // a service that is away is told of at the click, where it matters
  }
}

/**
 * Returns a new room for a new call.
 *
 * A source of its own for each call, because a TokenSource hands out its last token again while that is valid.
 * Throws a ProblemError.
 */
export async function fetchPass(choices: Choices, signal: AbortSignal): Promise<Pass> {
  const source = TokenSource.endpoint("/api/token", { signal: whicheverFirst(signal, ANSWER_TIMEOUT_MS) });
  try {
    return passOf(await source.fetch(tokenRequest(choices)));
  } catch (error) {
    throw new ProblemError(tokenProblem(error), { cause: error });
  }
}

/** Returns a signal that is aborted with `signal`, and after that time; `AbortSignal.any` is missing before iOS 17.4. */
export function whicheverFirst(signal: AbortSignal, milliseconds: number): AbortSignal {
  const first = new AbortController();
  const abort = (): void => first.abort(signal.aborted ? signal.reason : new DOMException("too late", "TimeoutError"));
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { signal: first.signal });
  const timer = setTimeout(abort, milliseconds);
  first.signal.addEventListener("abort", () => clearTimeout(timer));
  return first.signal;
}

/** Returns the request for what the customer chose, in the words of LiveKit's standard endpoint. */
export function tokenRequest(choices: Choices): TokenSourceFetchOptions {
  const wishes: Record<string, string> = {};
  if (choices.provider !== undefined) wishes.llm_provider = choices.provider;
  if (choices.localMode) wishes.is_local_mode = "true";
  const request: TokenSourceFetchOptions = {};
  if (choices.profile !== undefined) request.agentName = choices.profile;
  if (Object.keys(wishes).length > 0) request.agentMetadata = JSON.stringify(wishes);
  return request;
}

/** Returns how the service says the call stands, or undefined where it does not say. */
export async function fetchStatus(pass: Pass): Promise<CallStatus | undefined> {
  return ask<CallStatus>(pass, "");
}

/** Asks for the call's end: for who just leaves, its agent waits a while, since they may come back. */
export async function endCall(pass: Pass): Promise<void> {
  // Also while the page is being closed.
  await request(pass, "", { method: "DELETE", keepalive: true });
}

/** Returns the written conversation in order, or undefined where the service has none. */
export async function fetchTranscript(pass: Pass): Promise<TranscriptItem[] | undefined> {
  return (await ask<{ items: TranscriptItem[] }>(pass, "/transcript"))?.items;
}

async function ask<Answer>(pass: Pass, what: string): Promise<Answer | undefined> {
  try {
    return (await (await request(pass, what, {}))?.json()) as Answer | undefined;
  } catch {
    return undefined; // an answer that broke off
  }
}

/** Returns the service's answer about a call, or undefined where it refuses or is away: the page has its own. */
async function request(pass: Pass, what: string, options: RequestInit): Promise<Response | undefined> {
  try {
    const answer = await fetch(`/api/sessions/${encodeURIComponent(pass.room)}${what}`, {
      headers: { Authorization: `Bearer ${pass.token}` },
      cache: "no-store",
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      ...options,
    });
    return answer.ok ? answer : undefined;
  } catch {
    return undefined;
  }
}

function passOf(answer: TokenSourceResponseObject): Pass {
  const token = answer.participantToken;
  return { serverUrl: answer.serverUrl, room: roomOf(token), token };
}

function roomOf(token: string): string {
  const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
  const claims = JSON.parse(atob(payload)) as { video?: { room?: string } };
  return claims.video?.room ?? "";
}
