/** Who is silent when nothing of the agent's comes: the agent, or the customer's own network. Pure. */

/** Of the agent's track: packets received, and how often the other end has answered that the way is open. */
export interface Sample {
  packets: number;
  /** Undefined where the browser does not count them. */
  answers: number | undefined;
}

export interface Pulse {
  heard: "agent" | "only-the-network" | "nothing";
  sample: Sample;
  withoutPackets: number;
  withoutAnswers: number;
}

export const FIRST_PULSE: Pulse = {
  heard: "agent",
  sample: { packets: -1, answers: -1 },
  withoutPackets: 0,
  withoutAnswers: 0,
};

/**
 * Checks, not seconds: laptops sleep. At two a second this is longer than both a living agent (400 ms, also while it is
 * silent) and a browser that asks whether the way is open (2.5 s) ever take.
 */
const CHECKS = 6;

/** Returns the pulse after one check more; `online`: whether the browser believes that it has a network. */
export function nextPulse(before: Pulse, sample: Sample, online: boolean): Pulse {
  const withoutPackets = sample.packets === before.sample.packets ? before.withoutPackets + 1 : 0;
  const sameAnswers = sample.answers !== undefined && sample.answers === before.sample.answers;
  const withoutAnswers = sameAnswers ? before.withoutAnswers + 1 : 0;
  let heard: Pulse["heard"] = "agent";
  if (withoutPackets >= CHECKS) heard = online && withoutAnswers < CHECKS ? "only-the-network" : "nothing";
  return { heard, sample, withoutPackets, withoutAnswers };
}
