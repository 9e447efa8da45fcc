import { describe, expect, it } from "vitest";

import { pictureOf } from "./picture";
import type { Entry, Said } from "./timeline";

const START = Date.parse("2026-11-28T12:00:00Z");

function said(key: string, seconds: number, who: Said["who"], characters: number, more: Partial<Said> = {}): Said {
  const at = new Date(START + seconds * 1000).toISOString();
  return {
    type: "said",
    key,
    at,
    who,
    turn: 1,
    text: "x".repeat(characters),
    interrupted: false,
    time: undefined,
    ...more,
  };
}

function draw(entries: Entry[], seconds = 100): ReturnType<typeof pictureOf> {
  return pictureOf(entries, START, START + seconds * 1000);
}

describe("the picture of a call", () => {
  it("has the agent from when it began, and the customer until they had finished", () => {
    const { blocks } = draw([said("a", 10, "agent", 100), said("b", 30, "customer", 100)]);
    expect(blocks.map(({ who, from, to }) => [who, from, to])).toEqual([
      ["agent", 0.1, 0.165],
      ["customer", 0.235, 0.3],
    ]);
  });

  it("ends the customer's words where the wait for the answer begins", () => {
    const time = { millis: 2000, parts: [{ name: "model" as const, millis: 2000, share: 2000 }] };
    const { blocks, waits } = draw([said("a", 30.5, "customer", 100), said("b", 32, "agent", 10, { time })]);
    expect(blocks[0]?.to).toBe(0.3);
    expect(waits).toEqual([{ key: "b", millis: 2000, parts: time.parts, from: 0.3, to: 0.32 }]);
  });

  it("does not move them to a later agent's answer", () => {
    const time = { millis: 1000, parts: [] };
    expect(draw([said("a", 10, "customer", 20), said("b", 30, "agent", 10, { time })]).blocks[0]?.to).toBe(0.1);
  });

  it("does not draw one over the other, unless somebody interrupts", () => {
    const long = said("a", 10, "agent", 1000);
    const [agent, customer] = draw([long, said("b", 12, "customer", 1000)]).blocks;
    expect(agent?.to).toBe(0.12);
    expect(customer?.from).toBeLessThan(0.12);
    expect(customer?.from).toBeGreaterThan(0.119);
    const cut = draw([{ ...long, interrupted: true }, said("b", 12, "customer", 20)]).blocks;
    expect(cut[1]?.from).toBeCloseTo(0.107);
  });

  it("stays within the call, whatever the clocks say", () => {
    const { blocks } = draw([said("early", -50, "agent", 10), said("late", 500, "customer", 10)]);
    for (const { from, to } of blocks) {
      expect(from).toBeGreaterThanOrEqual(0);
      expect(to).toBeLessThanOrEqual(1);
    }
  });

  it("marks what happened to agents, and not the usual", () => {
    const event = (kind: string, tone: "plain" | "bad", seconds: number): Entry => ({
      type: "event",
      key: kind,
      at: new Date(START + seconds * 1000).toISOString(),
      kind,
      tone,
      text: kind,
    });
    const attempt: Entry = {
      type: "attempt",
      key: "attempt-2",
      at: new Date(START + 60_000).toISOString(),
      attempt: 2,
    };
    const { marks } = draw([
      event("created", "plain", 0),
      event("claimed", "plain", 1),
      event("lost", "bad", 50),
      attempt,
    ]);
    expect(marks).toEqual([
      { key: "lost", at: 0.5, tone: "bad", text: "lost" },
      { key: "attempt-2", at: 0.6, tone: "warn", text: "Agent 2" },
    ]);
  });

  it.each([
    [5, 1],
    [100, 30],
    [1800, 300],
    [40_000, 7200],
  ])("of %d s has a label every %d s", (seconds, step) => {
    const { ticks } = draw([], seconds);
    expect(ticks[1]?.seconds).toBe(step);
    expect(ticks.length).toBeLessThanOrEqual(7);
  });

  it("of a call that has only begun is one second long", () => {
    expect(draw([], 0).ticks.map((tick) => tick.seconds)).toEqual([0, 1]);
  });
});
