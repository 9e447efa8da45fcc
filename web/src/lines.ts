/** The conversation's words as they come in: text streams assembled into lines. Pure. */

export type Speaker = "agent" | "customer";

/** `open`: still being spoken; `cut`: its speaker was lost in the middle of it. */
export interface Line {
  id: string;
  who: Speaker;
  text: string;
  state: "open" | "final" | "cut";
  typed: boolean;
}

/** What is known of a segment so far: `text` is all of it, never only what is new. */
export interface Segment {
  id: string;
  who: Speaker;
  text: string;
  final: boolean;
}

/**
 * Returns the lines with this segment in them.
 *
 * Speech recognition sends a segment's whole text again and again until it is final; an agent's own words arrive as one
 * stream that grows. Both come here as "the text so far", so the last one wins, and nothing follows a final one. A line
 * that goes on was not cut: a successor's first words can be here before its voice is.
 */
export function withSegment(lines: readonly Line[], segment: Segment): readonly Line[] {
  const before = lines.find((line) => line.id === segment.id);
  if (before === undefined) {
    if (segment.text.trim() === "") return lines;
    return [...lines, lineOf(segment)];
  }
  if (before.state === "final") return lines;
  return lines.map((line) => (line === before ? lineOf(segment) : line));
}

/** Returns the lines with a message that the customer typed. */
export function withTyped(lines: readonly Line[], id: string, text: string): readonly Line[] {
  return [...lines, { id, who: "customer", text, state: "final", typed: true }];
}

/** Returns the lines with the unfinished ones of `who` marked as cut. */
export function withCut(lines: readonly Line[], who: Speaker): readonly Line[] {
  if (!lines.some((line) => line.who === who && line.state === "open")) return lines;
  return lines.map((line) => (line.who === who && line.state === "open" ? { ...line, state: "cut" } : line));
}

function lineOf(segment: Segment): Line {
  const { id, who, text, final } = segment;
  return { id, who, text: text.trim(), state: final ? "final" : "open", typed: false };
}
