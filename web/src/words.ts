/** What the page says of a call: headlines, hints, announcements. Pure. */

import { LOST_PATIENCE_MS, type CallState, type Look, lookOf } from "./state";

export interface Words {
  headline: string;
  hint: string;
}

const WORDS: Record<Exclude<Look, "start" | "ended" | "lost">, Words> = {
  connecting: { headline: "Connecting", hint: "Calling an agent for you." },
  listening: { headline: "Listening", hint: "Go ahead, the agent hears you." },
  hearing: { headline: "Hearing you", hint: "Take your time." },
  thinking: { headline: "Thinking", hint: "The agent is working on an answer." },
  speaking: { headline: "Speaking", hint: "Interrupt whenever you like." },
  reconnecting: { headline: "Reconnecting", hint: "Your own connection dropped. It usually comes back by itself." },
  leaving: { headline: "Goodbye", hint: "The agent is ending the call." },
};

/** Returns the words for a call at `now`; `agentName` is who is being called. */
export function wordsOf(state: CallState, now: number, agentName: string, muted: boolean): Words {
  const look = lookOf(state);
  if (look === "start") {
    return { headline: `Talk with ${agentName}`, hint: "Press start and speak as you would on the phone." };
  }
  if (look === "ended") return { headline: didStart(state) ? "Call ended" : "The call did not start", hint: "" };
  if (look === "lost") {
    const left = Math.max(0, Math.ceil((LOST_PATIENCE_MS - (now - state.agentSince)) / 1000));
    const wait = `The call waits for ${left} s more.`;
    return state.recovering
      ? { headline: "Another agent is coming", hint: `It goes on where you were. ${wait}` }
      : { headline: "The agent is not heard", hint: `It may come back, or another one take over. ${wait}` };
  }
  if (state.asking) {
    return { headline: "One moment", hint: "Your browser asks for the microphone. Allow it, so that you are heard." };
  }
  const listens = look === "listening" || look === "hearing";
  if (muted && listens) return { headline: "You are muted", hint: "Unmute to be heard, or type a message." };
  if (state.microphoneTaken && listens) {
    return { headline: "You are not heard", hint: "The microphone comes back by itself. Until then, type a message." };
  }
  return WORDS[look];
}

/** Returns whether an ended call ever was one: somebody answered it. */
export function didStart(state: CallState): boolean {
  return state.problem === undefined || state.agent !== "awaited";
}

const END_REASONS: Record<string, string> = {
  participant_left: "You hung up.",
  never_joined: "The call was closed because nobody joined it in time.",
  idle: "The agent hung up because nothing was said for a while.",
  max_duration: "The call reached the longest time it may take.",
  room_closed: "The service closed the call.",
  ended_by_request: "The agent hung up.",
  shutdown: "The service was being restarted.",
  superseded: "The call went on somewhere else.",
  error: "The agent ran into an error it could not get past.",
};

/** Returns why a call ended in plain words, by the reason in the service's books, where it has one. */
export function wordsOfEnd(endReason: string | undefined, hungUp: boolean): string {
  if (hungUp) return "You hung up.";
  return (endReason && END_REASONS[endReason]) || "The agent hung up.";
}

/** What a screen reader says when the look changes; undefined for changes that the customer hears anyway. */
export function announcementOf(before: Look, after: Look): string | undefined {
  if (before === after) return undefined;
  if (after === "connecting") return "Connecting.";
  if (after === "lost") return "The agent is not heard. The call waits for it, or for another one.";
  if (after === "reconnecting") return "Your connection dropped. Reconnecting.";
  if (after === "ended") return "The call has ended.";
  if (before === "connecting") return "Connected. You can speak now.";
  if (before === "lost") return "The agent is back.";
  if (before === "reconnecting") return "Your connection is back.";
  return undefined;
}
