import { describe, expect, it } from "vitest";

import { concernsOf, isRunning, type Judged, slowness, summaryOf, worst } from "./concerns";

const GOOD: Judged = { phase: "Ended", reason: "participant_left", attempts: 1, medianAnswerMillis: 700 };

describe("concerns", () => {
  it("are none about a good call, also while it lasts", () => {
    expect(concernsOf(GOOD)).toEqual([]);
    expect(concernsOf({ ...GOOD, phase: "Active", reason: "Joined", medianAnswerMillis: null })).toEqual([]);
  });

  it.each([
    [{ phase: "Failed", reason: "QuotaExceeded" }, ["Failed: quota exceeded"], "bad"],
    [{ reason: "error" }, ["The agent failed"], "bad"],
    [{ phase: "Recovering", reason: null, attempts: 2 }, ["Without an agent", "2 agents"], "bad"],
    [{ phase: "Pending", reason: null }, ["Waits for a pod"], "warn"],
    [{ phase: "Open", reason: null }, ["No end is written down"], "warn"],
    [{ attempts: 3 }, ["3 agents"], "warn"],
    [{ medianAnswerMillis: 1500 }, ["slow: 1.5 s"], "warn"],
    [{ attempts: 2, medianAnswerMillis: 3000 }, ["slow: 3.0 s", "2 agents"], "bad"],
  ])("of %o are %o", (changes, texts, level) => {
    const found = concernsOf({ ...GOOD, ...changes });
    expect(found.map((concern) => concern.text)).toEqual(texts);
    expect(worst(found)).toBe(level);
  });

  it("know slow answers", () => {
    expect([null, 1499, 1500, 2999, 3000].map(slowness)).toEqual([undefined, undefined, "warn", "warn", "bad"]);
  });

  it("know what goes on", () => {
    expect(isRunning({ phase: "Active", endedAt: null })).toBe(true);
    expect(isRunning({ phase: "Failed", endedAt: null })).toBe(false);
    expect(isRunning({ phase: "Open", endedAt: null })).toBe(false);
  });

  it("sum a list up", () => {
    const slow = { ...GOOD, medianAnswerMillis: 2000 };
    expect(summaryOf([GOOD, slow, { ...GOOD, reason: "error", attempts: 2, medianAnswerMillis: null }])).toBe(
      "3 calls · 1 went wrong · 1 needed another agent · 1 slow · typical answer 1.4 s",
    );
    expect(summaryOf([{ ...GOOD, medianAnswerMillis: null }])).toBe("1 call");
  });
});
