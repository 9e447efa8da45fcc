/** What went wrong, in plain words: every failure a customer can meet, and what they can do about it. Pure. */

import { ConnectionError, ConnectionErrorReason, DisconnectReason } from "livekit-client";

/** `retryAfterSeconds`: when trying again has a chance, as far as the service knows. */
export interface Problem {
  code:
    | "microphone-refused"
    | "microphone-missing"
    | "microphone-busy"
    | "browser-too-old"
    | "service-unreachable"
    | "service-refused"
    | "key-needed"
    | "full"
    | "agent-missing"
    | "agent-lost"
    | "connection-lost"
    | "opened-elsewhere";
  title: string;
  advice: string;
  retryAfterSeconds?: number;
}

/** An error of the page's own that carries its problem. */
export class ProblemError extends Error {
  constructor(
    readonly problem: Problem,
    options?: ErrorOptions,
  ) {
    super(problem.title, options);
    this.name = "ProblemError";
  }
}

/** The problem of a microphone that cannot be opened; `error` is what `getUserMedia` threw. */
export function microphoneProblem(error: unknown): Problem {
  const name = error instanceof Error ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") {
    return {
      code: "microphone-refused",
      title: "The microphone is blocked",
      advice:
        "Allow it for this page in your browser's address bar, then start again. You can also go on without it and type.",
    };
  }
  if (name === "NotFoundError" || name === "OverconstrainedError") {
    return {
      code: "microphone-missing",
      title: "No microphone was found",
      advice: "Plug one in or choose another, then start again. You can also go on without it and type.",
    };
  }
  if (name === "NotReadableError" || name === "AbortError") {
    return {
      code: "microphone-busy",
      title: "The microphone did not start",
      advice: "Another program may be using it. Close that, then start again. You can also go on without it and type.",
    };
  }
  return {
    code: "browser-too-old",
    title: "This browser gives no microphone to this page",
    advice: "Open the page over https or on localhost in a current browser. You can also go on without it and type.",
  };
}

interface Refusal {
  status: number;
  title?: string | undefined;
  detail?: string | undefined;
  retryAfterSeconds?: number | undefined;
}

/** The problem of a token that was not given; `error` is what `TokenSource.fetch` threw. */
export function tokenProblem(error: unknown): Problem {
  const refusal = readRefusal(error);
  if (refusal === undefined) return SERVICE_UNREACHABLE;
  if (refusal.status === 401 || refusal.status === 403) {
    return {
      code: "key-needed",
      title: "This service answers only callers with a key",
      advice: "The page has none. Ask the people who run the service how to reach the agent.",
    };
  }
  if (refusal.status === 429 || refusal.status === 503) {
    return withRetry(refusal.status === 429 ? FULL : SERVICE_BUSY, refusal.retryAfterSeconds);
  }
  if (refusal.status >= 500) return SERVICE_BUSY;
  return {
    code: "service-refused",
    title: "The service did not accept this call",
    advice: refusal.detail ?? refusal.title ?? "Choose something else, or reload the page and try again.",
  };
}

/** The problem of a room that could not be joined; `error` is what `Room.connect` threw. */
export function connectProblem(error: unknown): Problem {
  if (error instanceof ConnectionError && error.reason === ConnectionErrorReason.NotAllowed) {
    return {
      code: "service-refused",
      title: "The call was not let in",
      advice: "Its invitation may have run out while it waited. Start again.",
    };
  }
  if (error instanceof ConnectionError && error.reason === ConnectionErrorReason.LeaveRequest) return NOT_ACCEPTED;
  return NOT_CONNECTED;
}

/** Why a call gets no agent, by the service's own account. */
export interface Account {
  message?: string;
  retryAfterSeconds?: number;
}

/** What the service says to a room that gets no agent: a data message of topic `voice-agent`. */
export interface RoomNotice extends Account {
  type: "refused" | "no-capacity";
  reason?: string;
}

/** Returns the notice in a data message, or undefined where it is something else. */
export function readNotice(data: Uint8Array): RoomNotice | undefined {
  const body = parseObject(new TextDecoder().decode(data));
  if (body?.type !== "refused" && body?.type !== "no-capacity") return undefined;
  const notice: RoomNotice = { type: body.type };
  if (typeof body.reason === "string") notice.reason = body.reason;
  if (typeof body.message === "string") notice.message = body.message;
  if (typeof body.retryAfterSeconds === "number") notice.retryAfterSeconds = body.retryAfterSeconds;
  return notice;
}

/**
 * Returns what a data message tells in passing: what was typed is not read, or something went wrong; undefined where it
 * is something else.
 */
export function readNote(data: Uint8Array): string | undefined {
  const body = parseObject(new TextDecoder().decode(data));
  if (body?.type !== "text-refused" && body?.type !== "error") return undefined;
  return typeof body.message === "string" ? body.message : undefined;
}

/** The problem of a call that gets no agent: a notice in its room and its status tell the same. */
export function refusalProblem(told: Account): Problem {
  // Everyone is busy only where the service says when to come again.
  if (told.retryAfterSeconds !== undefined) return withRetry(FULL, told.retryAfterSeconds);
  return told.message ? { ...NOT_ACCEPTED, advice: sentence(told.message) } : NOT_ACCEPTED;
}

/** The problem of a call that failed, as its status says; `talked`: the agent had been there. */
export function failureProblem(status: Account, talked: boolean): Problem {
  return talked ? AGENT_LOST : refusalProblem(status);
}

/**
 * Whether the service, by whose account the call failed with `failure`, knows better than the page, which saw `seen`.
 * A room that is closed while the browser is still on its way into it can look like a network that lets nothing pass.
 */
export function knowsBetter(failure: Problem, seen: Problem | undefined): boolean {
  if (seen === NOT_CONNECTED) return failure !== NOT_ACCEPTED;
  return seen === undefined || seen === NOT_ACCEPTED;
}

/** The problem of a call whose room closed, by the reason that LiveKit gives; undefined for an ordinary end. */
export function disconnectProblem(reason: DisconnectReason | undefined): Problem | undefined {
  switch (reason) {
    case DisconnectReason.CLIENT_INITIATED:
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
    case DisconnectReason.PARTICIPANT_REMOVED:
      return undefined;
    case DisconnectReason.DUPLICATE_IDENTITY:
      return {
        code: "opened-elsewhere",
        title: "This call was opened somewhere else",
        advice: "It goes on there. Start again to have a call of your own here.",
      };
    default:
      return CONNECTION_LOST;
  }
}

export const SERVICE_UNREACHABLE: Problem = {
  code: "service-unreachable",
  title: "The service cannot be reached",
  advice: "Check your internet connection, then try again. If others cannot reach it either, the service may be down.",
};

const SERVICE_BUSY: Problem = {
  code: "service-unreachable",
  title: "The service cannot take calls right now",
  advice: "Something it needs is down. It usually comes back by itself.",
};

const FULL: Problem = {
  code: "full",
  title: "Everyone is busy right now",
  advice: "All agents are in calls.",
};

const NOT_CONNECTED: Problem = {
  code: "service-unreachable",
  title: "The call could not be connected",
  advice:
    "The service answers, but the voice connection does not. A firewall or VPN may be in its way; try another network.",
};

export const NOT_ACCEPTED: Problem = {
  code: "service-refused",
  title: "The call was not accepted",
  advice: "The service closed it before it began. Start again.",
};

export const AGENT_MISSING: Problem = {
  code: "agent-missing",
  title: "No agent came",
  advice: "You are not missing anything: the call never began. Try again in a moment.",
};

export const AGENT_LOST: Problem = {
  code: "agent-lost",
  title: "The agent was lost and did not come back",
  advice: "What was said until then is still here. Start again to speak with another agent.",
};

export const CONNECTION_LOST: Problem = {
  code: "connection-lost",
  title: "Your connection was lost",
  advice: "The call could not be kept. Check your internet connection, then start again.",
};

function readRefusal(error: unknown): Refusal | undefined {
  // livekit-client's TokenSource tells of a refusal only in this message.
  const found = error instanceof Error ? /received (\d{3}) \/ ([\s\S]*)$/.exec(error.message) : null;
  if (found === null) return undefined;
  const body = parseObject(found[2] ?? "");
  return {
    status: Number(found[1]),
    title: typeof body?.title === "string" ? body.title : undefined,
    detail: typeof body?.detail === "string" ? sentence(body.detail) : undefined,
    retryAfterSeconds: typeof body?.retryAfterSeconds === "number" ? body.retryAfterSeconds : undefined,
  };
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // not JSON: somebody else's words
  }
}

function withRetry(problem: Problem, retryAfterSeconds: number | undefined): Problem {
  return retryAfterSeconds === undefined ? problem : { ...problem, retryAfterSeconds };
}

function sentence(text: string): string {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
