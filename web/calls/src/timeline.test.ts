import { describe, expect, it } from "vitest";

import type { Item } from "./service";
import { answerTimesOf, timelineOf, transcriptOf } from "./timeline";

const START = Date.parse("2026-11-28T12:00:00Z");

function at(seconds: number): string {
  return new Date(START + seconds * 1000).toISOString();
}

function item(itemId: string, seconds: number, more: Partial<Item>): Item {
  const base = { attempt: 1, kind: "message", role: "assistant", content: "", interrupted: false };
  return { itemId, at: at(seconds), ...base, latencies: null, tool: null, ...more };
}

const HELLO = item("hello", 1, { content: "Hello." });
const ASKED = item("asked", 5, { role: "user", content: "Two pizzas.", latencies: { endOfTurnMillis: 500 } });
const CALL = item("call", 6, {
  kind: "tool_call",
  tool: { name: "order", callId: "c1", arguments: { pizzas: 2 } },
});
const RESULT = item("result", 7, {
  kind: "tool_result",
  role: "tool",
  content: '{"price":20}',
  tool: { name: "order", callId: "c1", isError: false },
});
const ANSWER = item("answer", 8, {
  content: "That is 20.",
  interrupted: true,
  latencies: { answerMillis: 1200, llmFirstTokenMillis: 600 },
});

describe("a call's timeline", () => {
  it("has turns with what an answer's time went into, from both rows", () => {
    const entries = timelineOf({ items: [HELLO, ASKED, ANSWER], events: [] });
    expect(entries.map((entry) => (entry.type === "said" ? [entry.who, entry.turn] : entry.type))).toEqual([
      ["agent", 0],
      ["customer", 1],
      ["agent", 1],
    ]);
    const [time] = answerTimesOf(entries);
    expect(time?.parts.map((part) => [part.name, part.millis])).toEqual([
      ["turn", 500],
      ["model", 600],
      ["rest", 100],
    ]);
    expect(transcriptOf(entries)).toBe("Agent: Hello.\nCustomer: Two pizzas.\nAgent: That is 20. [interrupted]");
  });

  it("has a tool's result with its call", () => {
    const [tool, ...others] = timelineOf({ items: [CALL, RESULT], events: [] });
    expect(others).toEqual([]);
    expect(tool).toMatchObject({
      type: "tool",
      name: "order",
      arguments: '{\n  "pizzas": 2\n}',
      result: '{\n  "price": 20\n}',
      failed: false,
      millis: 1000,
    });
  });

  it("shows a call that has no result, and a result that has no call", () => {
    const failed = { ...RESULT, content: "no oven", tool: { callId: "other", isError: true } };
    expect(timelineOf({ items: [CALL, failed], events: [] })).toMatchObject([
      { name: "order", result: undefined, millis: undefined },
      { name: "a tool", arguments: undefined, result: "no oven", failed: true },
    ]);
  });

  it("has events where their time is", () => {
    const events = [
      { at: at(99), kind: "ended", text: "The customer hung up." },
      { at: at(0), kind: "created", text: "Asked for." },
      { at: at(6), kind: "lost", text: "Out of memory." },
    ];
    const entries = timelineOf({ items: [HELLO, ASKED, ANSWER], events });
    expect(entries.map((entry) => (entry.type === "event" ? `${entry.kind} ${entry.tone}` : entry.key))).toEqual([
      "created plain",
      "hello",
      "asked",
      "lost bad",
      "answer",
      "ended plain",
    ]);
  });

  it("tells of another agent once", () => {
    const second = { ...ANSWER, attempt: 2 };
    expect(timelineOf({ items: [ASKED, second], events: [] })[1]).toMatchObject({ type: "attempt", attempt: 2 });
    const events = [{ at: at(7), kind: "recovered", text: "Another agent." }];
    const types = timelineOf({ items: [ASKED, second], events }).map((entry) => entry.type);
    expect(types).toEqual(["said", "event", "said"]);
  });

  it("marks what nobody said by its role, and knows kinds that come later", () => {
    const items = [
      item("rule", 1, { role: "system", content: "Be kind." }),
      item("new", 2, { kind: "something_new", content: "?" }),
      item("hand", 3, { kind: "handoff", role: null, content: null, tool: { from: "a", to: "b" } }),
    ];
    const events = [{ at: at(4), kind: "constructor", text: "?" }];
    expect(timelineOf({ items, events })).toMatchObject([
      { type: "note", role: "system" },
      { type: "note", role: "something_new" },
      { type: "handoff", from: "a", to: "b" },
      { type: "event", tone: "plain" },
    ]);
  });
});
