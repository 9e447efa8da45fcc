/** What an answer's time went into. Pure. */

import { median } from "../../src/timings";
import type { Latencies } from "./service";

export type PartName = "transcription" | "turn" | "model" | "voice" | "rest";

export interface Part {
  name: PartName;
  /** As it was measured, in milliseconds. */
  millis: number;
  /** What of the answer's time it takes up alone: parts that ran at the same time are not counted twice. */
  share: number;
}

/** One answer. `millis`: from the customer's last sound to the agent's first, where that was measured. */
export interface AnswerTime {
  millis: number | undefined;
  parts: Part[];
}

export const PART_WORDS: Record<PartName, string> = {
  transcription: "Transcription",
  turn: "End of turn",
  model: "Chat model",
  voice: "Text-to-speech",
  rest: "The rest",
};

/** Returns what took how long, or undefined where nothing was measured. */
export function answerTimeOf(latencies: Latencies): AnswerTime | undefined {
  const { transcriptionMillis, endOfTurnMillis, llmFirstTokenMillis, ttsFirstByteMillis, answerMillis } = latencies;
  const parts: Part[] = [];
  const add = (name: PartName, millis: number | undefined, share = millis): void => {
    if (millis !== undefined && share !== undefined) parts.push({ name, millis, share: Math.max(0, share) });
  };
  add("transcription", transcriptionMillis);
  // The end of a turn is waited for while the words come: both count from the customer's last sound.
  add("turn", endOfTurnMillis, endOfTurnMillis && endOfTurnMillis - (transcriptionMillis ?? 0));
  add("model", llmFirstTokenMillis);
  add("voice", ttsFirstByteMillis);
  if (parts.length === 0 && answerMillis === undefined) return undefined;
  return { millis: answerMillis, parts: fitted(parts, answerMillis) };
}

/** Returns the parts so that they fill the answer: with what nobody measured, or less of what ran at the same time. */
function fitted(parts: Part[], answer: number | undefined): Part[] {
  const sum = parts.reduce((total, part) => total + part.share, 0);
  if (answer === undefined || sum === answer) return parts;
  if (sum < answer) return [...parts, { name: "rest", millis: answer - sum, share: answer - sum }];
  return parts.map((part) => ({ ...part, share: (part.share * answer) / sum }));
}

/** Returns how long the whole took, as far as it is known. */
export function wholeOf(time: AnswerTime): number {
  return time.millis ?? time.parts.reduce((total, part) => total + part.share, 0);
}

/** Returns the answer in the middle, part by part; undefined of none. */
export function typicalOf(times: readonly AnswerTime[]): AnswerTime | undefined {
  const millis = median(times.flatMap((time) => time.millis ?? []));
  const parts = (Object.keys(PART_WORDS) as PartName[]).flatMap((name) => {
    const found = times.flatMap((time) => time.parts.filter((part) => part.name === name));
    const middle = median(found.map((part) => part.millis));
    const share = median(found.map((part) => part.share));
    return middle === undefined || share === undefined ? [] : [{ name, millis: middle, share }];
  });
  return millis === undefined && parts.length === 0 ? undefined : { millis, parts };
}

/** Returns what takes the most of an answer, as people call it; undefined where nobody knows. */
export function slowestOf(time: AnswerTime): string | undefined {
  const [first] = time.parts.filter((part) => part.name !== "rest").toSorted((a, b) => b.share - a.share);
  return first && PART_WORDS[first.name];
}
