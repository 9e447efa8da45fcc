import { describe, expect, it } from "vitest";

import {
  count,
  dayAndTime,
  latency,
  lengthReading,
  wordsOfEvent,
  wordsOfEventText,
  wordsOfOutcome,
  wordsOfReason,
  wordsOfUsage,
} from "./words";

describe("words", () => {
  it("tell how a call stands", () => {
    expect(wordsOfOutcome("Ended", "participant_left")).toBe("The customer hung up");
    expect(wordsOfOutcome("Active", "Joined")).toBe("In progress");
    expect(wordsOfOutcome("Failed", null)).toBe("Failed");
    expect(wordsOfOutcome("Failed", "QuotaExceeded")).toBe("Failed: quota exceeded");
  });

  it("read reasons that they do not know", () => {
    expect(wordsOfReason("OutOfMemory")).toBe("Out of memory");
    expect(wordsOfReason("something_new")).toBe("Something new");
    expect(wordsOfReason("constructor")).toBe("Constructor");
    expect(wordsOfReason("")).toBe("");
  });

  it("name events, and read the reasons in them", () => {
    expect([wordsOfEvent("lost"), wordsOfEvent("toString")]).toEqual(["Agent lost", "To string"]);
    expect(wordsOfEventText("OutOfMemory: The pod had 2 GiB.")).toBe("Out of memory. The pod had 2 GiB.");
    expect(wordsOfEventText("participant_left")).toBe("The customer hung up");
    expect(wordsOfEventText("Joined: Another agent.")).toBe("Joined. Another agent.");
    expect(wordsOfEventText("Pod a-b: on node n")).toBe("Pod a-b: on node n");
    expect(wordsOfEventText("")).toBe("");
  });

  it("read lengths and latencies", () => {
    expect([7, 67.9, 3723].map(lengthReading)).toEqual(["0:07", "1:07", "1:02:03"]);
    expect([latency(340), latency(1250), latency(null)]).toEqual(["340 ms", "1.3 s", "–"]);
  });

  it("count", () => {
    expect([count(1, "call"), count(0, "call"), count(2, "try", "tries")]).toEqual(["1 call", "0 calls", "2 tries"]);
  });

  it("tell times in a zone", () => {
    expect(dayAndTime("2026-11-28T23:15:07Z", "Europe/Berlin")).toEqual({ day: "Sun, 29 Nov 2026", time: "00:15:07" });
    expect(dayAndTime("nonsense")).toEqual({ day: "", time: "unknown" });
  });

  it("tell what models were used for", () => {
    const models = [
      { type: "llm", provider: "openai", model: "gpt-4.1", input_tokens: 12_345, output_tokens: 67 },
      { type: "tts", provider: "", model: "voice", characters_count: 10 },
      { provider: "nothing" },
      "hostile",
    ];
    expect(wordsOfUsage({ models })).toEqual([
      { model: "openai gpt-4.1", amounts: "12,345 tokens in, 67 out" },
      { model: "voice", amounts: "10 characters" },
    ]);
    expect(wordsOfUsage({ models: 7 })).toEqual([]);
    expect(wordsOfUsage(null)).toEqual([]);
  });
});
