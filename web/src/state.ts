/** Where a call stands, and what of it the customer sees. Pure: events in, state out. */

import { AGENT_LOST, AGENT_MISSING, NOT_ACCEPTED, type Problem } from "./problems";

/** How long a call waits for its agent at the beginning. */
export const AGENT_PATIENCE_MS = 20_000;
/** How long it waits for one that is lost, or for another: a node's loss is noticed late, and no pod may be ready. */
export const LOST_PATIENCE_MS = 30_000;
/** How long a room may stay open after its agent has said goodbye. */
export const GOODBYE_PATIENCE_MS = 5_000;

/** What the customer sees; also the name of its looks in the style sheet. */
export type Look =
  | "start"
  | "connecting"
  | "listening"
  | "hearing"
  | "thinking"
  | "speaking"
  | "lost"
  | "reconnecting"
  | "leaving"
  | "ended";

export interface CallState {
  stage: "start" | "connecting" | "open" | "ended";
  /** `left`: said goodbye; `lost`: gone without a word. */
  agent: "awaited" | "present" | "lost" | "left";
  /** When `agent` became what it is. */
  agentSince: number;
  /** The attribute `lk.agent.state`; undefined for agents that set none. */
  agentState: string | undefined;
  agentAudible: boolean;
  customerAudible: boolean;
  /** The browser asks the customer for the microphone, and waits for the answer. */
  asking: boolean;
  /** The device has taken the microphone for something else: nothing of the customer's is heard. */
  microphoneTaken: boolean;
  /** Another agent is on its way, as the service says. */
  recovering: boolean;
  /** The customer's own connection to the room. */
  connected: boolean;
  /** Something comes through it; LiveKit notices later that nothing does. */
  networkCarries: boolean;
  problem: Problem | undefined;
}

export type CallEvent =
  | { type: "clicked" }
  | { type: "asking"; asking: boolean }
  | { type: "microphone"; taken: boolean }
  | { type: "connected" }
  | { type: "connection"; up: boolean }
  | { type: "network"; carries: boolean }
  | { type: "recovering" }
  | { type: "agent-present" }
  | { type: "agent-lost" }
  | { type: "agent-left" }
  | { type: "agent-state"; value: string | undefined }
  | { type: "audible"; who: "agent" | "customer"; audible: boolean }
  | { type: "tick" }
  | { type: "hung-up" }
  | { type: "ended"; problem?: Problem | undefined };

export const START: CallState = {
  stage: "start",
  agent: "awaited",
  agentSince: 0,
  agentState: undefined,
  agentAudible: false,
  customerAudible: false,
  asking: false,
  microphoneTaken: false,
  recovering: false,
  connected: true,
  networkCarries: true,
  problem: undefined,
};

/** Returns the state after `event`, which happened at `now` (milliseconds); the same object where nothing changed. */
export function next(state: CallState, event: CallEvent, now: number): CallState {
  if (event.type === "clicked") return { ...START, stage: "connecting", agentSince: now };
  if (state.stage === "start" || state.stage === "ended") return state;
  switch (event.type) {
    case "asking":
      return { ...state, asking: event.asking };
    case "microphone":
      return event.taken === state.microphoneTaken ? state : { ...state, microphoneTaken: event.taken };
    case "connected":
      // An agent that was already there when the customer came has been seen by now.
      return { ...state, stage: "open", agentSince: state.agent === "awaited" ? now : state.agentSince };
    case "connection":
      // While the customer was away, nobody counted the agent's absence.
      return event.up === state.connected ? state : { ...state, connected: event.up, agentSince: now };
    case "network":
      if (event.carries === state.networkCarries) return state;
      return { ...state, networkCarries: event.carries, agentSince: now };
    case "recovering":
      return state.agent === "lost" && !state.recovering ? { ...state, recovering: true } : state;
    case "agent-present":
      return withAgent(state, "present", now);
    case "agent-lost":
      return state.agent === "present" ? withAgent(state, "lost", now) : state;
    case "agent-left":
      return state.agent === "awaited" ? state : withAgent(state, "left", now);
    case "agent-state":
      return event.value === state.agentState ? state : { ...state, agentState: event.value };
    case "audible":
      return withAudible(state, event.who, event.audible);
    case "tick":
      return afterWaiting(state, now);
    case "hung-up":
      return { ...state, stage: "ended" };
    case "ended":
      return { ...state, stage: "ended", problem: event.problem ?? problemOfEnd(state) };
  }
}

/** Returns what the customer sees of a state. */
export function lookOf(state: CallState): Look {
  if (state.stage !== "open") return state.stage;
  if (!isReachable(state)) return "reconnecting";
  if (state.agent === "awaited") return "connecting";
  if (state.agent === "lost") return "lost";
  if (state.agent === "left") return "leaving";
  return lookOfAgent(state);
}

function isReachable(state: CallState): boolean {
  return state.connected && state.networkCarries;
}

function lookOfAgent(state: CallState): Look {
  switch (state.agentState) {
    case "initializing":
      return "connecting";
    case "thinking":
    case "speaking":
      return state.agentState;
    case undefined:
      if (state.agentAudible) return "speaking";
  }
  return state.customerAudible ? "hearing" : "listening";
}

function withAgent(state: CallState, agent: CallState["agent"], now: number): CallState {
  if (state.agent === agent) return state;
  return { ...state, agent, agentSince: now, agentAudible: false, recovering: false };
}

function withAudible(state: CallState, who: "agent" | "customer", audible: boolean): CallState {
  const key = who === "agent" ? "agentAudible" : "customerAudible";
  return state[key] === audible ? state : { ...state, [key]: audible };
}

function afterWaiting(state: CallState, now: number): CallState {
  if (state.stage !== "open" || !isReachable(state)) return state;
  const waited = now - state.agentSince;
  if (state.agent === "left" && waited >= GOODBYE_PATIENCE_MS) return { ...state, stage: "ended" };
  if (state.agent === "lost" && waited >= LOST_PATIENCE_MS) return { ...state, stage: "ended", problem: AGENT_LOST };
  if (state.agent === "awaited" && waited >= AGENT_PATIENCE_MS) {
    return { ...state, stage: "ended", problem: AGENT_MISSING };
  }
  return state;
}

/** A room that closes while its agent is missing was closed for that. */
function problemOfEnd(state: CallState): Problem | undefined {
  if (state.agent === "lost") return AGENT_LOST;
  if (state.agent === "awaited") return NOT_ACCEPTED;
  return undefined;
}
