import { describe, expect, it } from "vitest";

import { answerTimeOf, slowestOf, typicalOf, wholeOf } from "./answers";

const MEASURED = {
  transcriptionMillis: 200,
  endOfTurnMillis: 500,
  llmFirstTokenMillis: 400,
  ttsFirstByteMillis: 150,
  answerMillis: 1100,
};

describe("an answer's time", () => {
  it("is what its parts took, and the rest", () => {
    const time = answerTimeOf(MEASURED);
    expect(time?.parts.map(({ name, millis, share }) => [name, millis, share])).toEqual([
      ["transcription", 200, 200],
      ["turn", 500, 300],
      ["model", 400, 400],
      ["voice", 150, 150],
      ["rest", 50, 50],
    ]);
    expect(time && slowestOf(time)).toBe("Chat model");
  });

  it("is never more than the answer: a model may begin before the turn is over", () => {
    const time = answerTimeOf({ ...MEASURED, answerMillis: 525 });
    expect(time?.parts.reduce((sum, part) => sum + part.share, 0)).toBeCloseTo(525);
    expect(time?.parts.find((part) => part.name === "model")).toEqual({ name: "model", millis: 400, share: 200 });
  });

  it("is known in part where a part was measured", () => {
    expect(answerTimeOf({})).toBeUndefined();
    const typed = answerTimeOf({ llmFirstTokenMillis: 300 });
    expect(typed?.millis).toBeUndefined();
    expect(typed && wholeOf(typed)).toBe(300);
    expect(answerTimeOf({ transcriptionMillis: 600, endOfTurnMillis: 500 })?.parts[1]?.share).toBe(0);
  });

  it("has a middle", () => {
    const times = [MEASURED, { ...MEASURED, answerMillis: 1300 }, { answerMillis: 900 }].flatMap(
      (latencies) => answerTimeOf(latencies) ?? [],
    );
    expect(typicalOf(times)?.millis).toBe(1100);
    expect(typicalOf(times)?.parts.map((part) => part.name)).toEqual([
      "transcription",
      "turn",
      "model",
      "voice",
      "rest",
    ]);
    expect(typicalOf([])).toBeUndefined();
  });
});
