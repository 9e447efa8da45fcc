import { describe, expect, it } from "vitest";

import { CONNECTION_LOST } from "./problems";
import { type CallEvent, next, START } from "./state";
import { announcementOf, wordsOf, wordsOfEnd } from "./words";

describe("words", () => {
  it("name who is called", () => {
    expect(wordsOf(START, 0, "Ada", false).headline).toBe("Talk with Ada");
  });

  it("count down while the agent is lost, and never below zero", () => {
    const present = next(next(START, { type: "clicked" }, 0), { type: "agent-present" }, 0);
    const lost = next(next(present, { type: "connected" }, 0), { type: "agent-lost" }, 1000);
    expect(wordsOf(lost, 6000, "Ada", false).hint).toContain("25 s more");
    expect(wordsOf(lost, 99_000, "Ada", false).hint).toContain("0 s more");
  });

  it("promise another agent only when one is on its way", () => {
    const talking = next(next(START, { type: "clicked" }, 0), { type: "connected" }, 0);
    const lost = next(next(talking, { type: "agent-present" }, 0), { type: "agent-lost" }, 1000);
    expect(wordsOf(lost, 2000, "Ada", false).headline).toBe("The agent is not heard");
    const recovering = next(lost, { type: "recovering" }, 2000);
    expect(wordsOf(recovering, 2000, "Ada", false).headline).toBe("Another agent is coming");
    expect(next(recovering, { type: "agent-present" }, 3000).recovering).toBe(false);
  });

  it("do not call it a call before somebody answered", () => {
    const clicked = next(START, { type: "clicked" }, 0);
    const full = next(clicked, { type: "ended", problem: CONNECTION_LOST }, 100);
    expect(wordsOf(full, 100, "Ada", false).headline).toBe("The call did not start");
    const answered = next(next(clicked, { type: "connected" }, 50), { type: "agent-present" }, 60);
    const lost = next(answered, { type: "ended", problem: CONNECTION_LOST }, 100);
    expect(wordsOf(lost, 100, "Ada", false).headline).toBe("Call ended");
  });

  it("say whose turn it is while the browser asks for the microphone", () => {
    const asking = next(next(START, { type: "clicked" }, 0), { type: "asking", asking: true }, 1);
    expect(wordsOf(asking, 1, "Ada", false).hint).toContain("Allow it");
    expect(wordsOf(next(asking, { type: "asking", asking: false }, 2), 2, "Ada", false).headline).toBe("Connecting");
  });

  it("do not tell who is not heard that they are", () => {
    const events: CallEvent[] = [{ type: "clicked" }, { type: "connected" }, { type: "agent-present" }];
    const talking = events.reduce((state, event) => next(state, event, 0), START);
    const taken = next(talking, { type: "microphone", taken: true }, 1);
    expect(wordsOf(taken, 1, "Ada", false).headline).toBe("You are not heard");
    expect(wordsOf(taken, 1, "Ada", true).headline).toBe("You are muted");
    expect(wordsOf(next(taken, { type: "agent-state", value: "speaking" }, 2), 2, "Ada", false).headline).toBe(
      "Speaking",
    );
    expect(wordsOf(next(taken, { type: "microphone", taken: false }, 3), 3, "Ada", false).headline).toBe("Listening");
  });

  it("say why a call ended, also for reasons they do not know", () => {
    expect(wordsOfEnd("max_duration", false)).toContain("longest time");
    expect(wordsOfEnd("something_new", false)).toBe("The agent hung up.");
    expect(wordsOfEnd("idle", true)).toBe("You hung up.");
  });

  it("announce what cannot be heard", () => {
    expect(announcementOf("connecting", "speaking")).toBe("Connected. You can speak now.");
    expect(announcementOf("listening", "thinking")).toBeUndefined();
    expect(announcementOf("lost", "lost")).toBeUndefined();
    expect(announcementOf("lost", "listening")).toBe("The agent is back.");
  });
});
