/** How long things took, as the customer's browser saw it. Pure: the clock is handed in. */

/** Silence that ends somebody's turn: speech has shorter pauses between its words. */
const TURN_GAP_MS = 700;
/** Whoever begins sooner than this after the other's last sound did not wait for its end, so it is no answer. */
const SOONEST_ANSWER_MS = 150;

/** Milliseconds from the click; undefined for what did not happen. */
export interface Milestones {
  microphone?: number;
  token?: number;
  connected?: number;
  agent?: number;
  firstAudio?: number;
}

export type Milestone = keyof Milestones;

export interface Timings {
  milestones: Milestones;
  /** For each answer, from the end of the customer's words to the first sound of the agent, in milliseconds. */
  answers: readonly number[];
  callMs: number;
}

/** Watches who is audible when, and measures a call from its click on. */
export class Stopwatch {
  private readonly milestones: Milestones = {};
  private readonly answers: number[] = [];
  private endedAt: number | undefined;
  private askedAt: number | undefined;
  private agentHeardAt = -Infinity;

  /** `onReached` is told each milestone once, with the clock's unrounded reading. */
  constructor(
    private readonly clickedAt: number,
    private readonly onReached?: (milestone: Milestone, now: number) => void,
  ) {}

  /** Notes that something happened for the first time. */
  reached(milestone: Milestone, now: number): void {
    if (this.milestones[milestone] !== undefined) return;
    this.milestones[milestone] = Math.round(now - this.clickedAt);
    this.onReached?.(milestone, now);
  }

  /** Notes that the customer is audible at `now`. */
  customerHeard(now: number): void {
    this.askedAt = now;
  }

  /** Notes that the customer sent a typed message. */
  customerTyped(now: number): void {
    this.askedAt = now;
  }

  /** Notes that the agent is audible at `now`: the first sound after a silence answers what was asked before it. */
  agentHeard(now: number): void {
    const begins = now - this.agentHeardAt > TURN_GAP_MS;
    if (begins && this.milestones.firstAudio !== undefined) this.answered(now);
    this.reached("firstAudio", now);
    this.agentHeardAt = now;
  }

  private answered(now: number): void {
    if (this.askedAt === undefined || now - this.askedAt < SOONEST_ANSWER_MS) return;
    this.answers.push(Math.round(now - this.askedAt));
    this.askedAt = undefined;
  }

  /** Notes the end of the call; later ones change nothing. */
  ended(now: number): void {
    this.endedAt ??= now;
  }

  /** Returns what was measured until now. */
  read(now: number): Timings {
    return {
      milestones: { ...this.milestones },
      answers: [...this.answers],
      callMs: Math.round((this.endedAt ?? now) - this.clickedAt),
    };
  }
}

/** Returns the value in the middle, or undefined of none. */
export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : mean(sorted[middle - 1], sorted[middle]);
}

function mean(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : (a + b) / 2;
}
