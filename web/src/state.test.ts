import { describe, expect, it } from "vitest";

import { AGENT_LOST, AGENT_MISSING, CONNECTION_LOST, NOT_ACCEPTED } from "./problems";
import {
  AGENT_PATIENCE_MS,
  type CallEvent,
  type CallState,
  GOODBYE_PATIENCE_MS,
  lookOf,
  LOST_PATIENCE_MS,
  next,
  START,
} from "./state";

/** Plays events, each at the time beside it. */
function play(...steps: [number, CallEvent][]): CallState {
  return steps.reduce((state, [now, event]) => next(state, event, now), START);
}

const TALKING: [number, CallEvent][] = [
  [0, { type: "clicked" }],
  [400, { type: "connected" }],
  [500, { type: "agent-present" }],
  [500, { type: "agent-state", value: "listening" }],
];

describe("what the customer sees", () => {
  it("connects until an agent is there", () => {
    expect(lookOf(START)).toBe("start");
    expect(lookOf(play([0, { type: "clicked" }]))).toBe("connecting");
    expect(lookOf(play([0, { type: "clicked" }], [400, { type: "connected" }]))).toBe("connecting");
    expect(lookOf(play(...TALKING))).toBe("listening");
  });

  it("sees an agent that was there first", () => {
    const state = play([0, { type: "clicked" }], [300, { type: "agent-present" }], [400, { type: "connected" }]);
    expect(lookOf(state)).toBe("listening");
  });

  it.each([
    ["initializing", "connecting"],
    ["idle", "listening"],
    ["listening", "listening"],
    ["thinking", "thinking"],
    ["speaking", "speaking"],
    ["something-new", "listening"],
  ])("shows the agent's state %s as %s", (value, look) => {
    expect(lookOf(play(...TALKING, [600, { type: "agent-state", value }]))).toBe(look);
  });

  it("hears the customer only while the agent listens", () => {
    const audible: [number, CallEvent] = [700, { type: "audible", who: "customer", audible: true }];
    expect(lookOf(play(...TALKING, audible))).toBe("hearing");
    expect(lookOf(play(...TALKING, audible, [800, { type: "agent-state", value: "speaking" }]))).toBe("speaking");
  });

  it("goes by the sound of agents that tell no state", () => {
    const mute: [number, CallEvent] = [600, { type: "agent-state", value: undefined }];
    const sound: [number, CallEvent] = [700, { type: "audible", who: "agent", audible: true }];
    expect(lookOf(play(...TALKING, mute))).toBe("listening");
    expect(lookOf(play(...TALKING, mute, sound))).toBe("speaking");
  });

  it("shows the customer's own lost connection before everything else", () => {
    const away: [number, CallEvent] = [900, { type: "connection", up: false }];
    expect(lookOf(play(...TALKING, [800, { type: "agent-lost" }], away))).toBe("reconnecting");
    expect(lookOf(play(...TALKING, away, [950, { type: "connection", up: true }]))).toBe("listening");
  });

  it("shows a network that carries nothing as the customer's own, and waits for it without end", () => {
    const silent: [number, CallEvent][] = [
      [800, { type: "network", carries: false }],
      [90_000, { type: "tick" }],
    ];
    expect(lookOf(play(...TALKING, ...silent))).toBe("reconnecting");
    expect(lookOf(play(...TALKING, ...silent, [91_000, { type: "network", carries: true }]))).toBe("listening");
  });
});

describe("an agent that is gone", () => {
  const lost: [number, CallEvent] = [1000, { type: "agent-lost" }];

  it("comes back", () => {
    expect(lookOf(play(...TALKING, lost))).toBe("lost");
    expect(lookOf(play(...TALKING, lost, [15_000, { type: "agent-present" }]))).toBe("listening");
  });

  it("ends the call when it does not", () => {
    const inTime = play(...TALKING, lost, [1000 + LOST_PATIENCE_MS - 1, { type: "tick" }]);
    expect(inTime.stage).toBe("open");
    const late = play(...TALKING, lost, [1000 + LOST_PATIENCE_MS, { type: "tick" }]);
    expect(late).toMatchObject({ stage: "ended", problem: AGENT_LOST });
  });

  it("is given its whole time again after the customer's own absence", () => {
    const steps: [number, CallEvent][] = [
      [2000, { type: "connection", up: false }],
      [60_000, { type: "tick" }],
      [60_000, { type: "connection", up: true }],
      [60_000 + LOST_PATIENCE_MS - 1, { type: "tick" }],
    ];
    expect(lookOf(play(...TALKING, lost, ...steps))).toBe("lost");
  });

  it("was the reason when the room closes meanwhile", () => {
    expect(play(...TALKING, lost, [2000, { type: "ended" }]).problem).toBe(AGENT_LOST);
    expect(play(...TALKING, [2000, { type: "ended" }]).problem).toBeUndefined();
  });

  it("may never have come", () => {
    const steps: [number, CallEvent][] = [
      [0, { type: "clicked" }],
      [400, { type: "connected" }],
      [400 + AGENT_PATIENCE_MS, { type: "tick" }],
    ];
    expect(play(...steps)).toMatchObject({ stage: "ended", problem: AGENT_MISSING });
  });

  it("that said goodbye ends the call without a problem", () => {
    const left: [number, CallEvent] = [1000, { type: "agent-left" }];
    expect(lookOf(play(...TALKING, left))).toBe("leaving");
    const ended = play(...TALKING, left, [1000 + GOODBYE_PATIENCE_MS, { type: "tick" }]);
    expect(ended).toMatchObject({ stage: "ended", problem: undefined });
  });
});

describe("the end", () => {
  it("before an agent came is the service's, unless the customer hung up", () => {
    const waiting: [number, CallEvent][] = [
      [0, { type: "clicked" }],
      [400, { type: "connected" }],
    ];
    expect(play(...waiting, [500, { type: "ended" }])).toMatchObject({ stage: "ended", problem: NOT_ACCEPTED });
    expect(play(...waiting, [500, { type: "hung-up" }])).toMatchObject({ stage: "ended", problem: undefined });
  });

  it("is final, until the next click", () => {
    const ended = play(...TALKING, [2000, { type: "ended", problem: CONNECTION_LOST }]);
    expect(next(ended, { type: "agent-present" }, 3000)).toBe(ended);
    expect(next(ended, { type: "ended" }, 3000).problem).toBe(CONNECTION_LOST);
    expect(next(ended, { type: "clicked" }, 4000)).toMatchObject({ stage: "connecting", problem: undefined });
  });

  it("changes nothing when nothing happened", () => {
    const talking = play(...TALKING);
    expect(next(talking, { type: "agent-state", value: "listening" }, 9)).toBe(talking);
    expect(next(talking, { type: "audible", who: "agent", audible: false }, 9)).toBe(talking);
    expect(next(talking, { type: "tick" }, 9)).toBe(talking);
  });
});
