import { describe, expect, it } from "vitest";

import { type Line, type Segment, withCut, withSegment, withTyped } from "./lines";

function heard(text: string, final = false): Segment {
  return { id: "customer/1", who: "customer", text, final };
}

function texts(lines: readonly Line[]): string[] {
  return lines.map((line) => `${line.who} ${line.state}: ${line.text}`);
}

describe("lines", () => {
  it("replace interim words until they are final", () => {
    const interim = withSegment(withSegment([], heard("I would")), heard("I would like"));
    expect(texts(interim)).toEqual(["customer open: I would like"]);
    const final = withSegment(interim, heard("I'd like a table.", true));
    expect(texts(final)).toEqual(["customer final: I'd like a table."]);
  });

  it("take nothing after a final one", () => {
    const final = withSegment([], heard("Yes.", true));
    expect(withSegment(final, heard("Yes"))).toBe(final);
  });

  it("keep the order in which they began", () => {
    let lines = withSegment([], heard("Hello"));
    lines = withSegment(lines, { id: "agent/1", who: "agent", text: "Hi", final: false });
    lines = withSegment(lines, heard("Hello there.", true));
    lines = withTyped(lines, "typed-1", "by hand");
    expect(texts(lines)).toEqual(["customer final: Hello there.", "agent open: Hi", "customer final: by hand"]);
  });

  it("do not begin with nothing", () => {
    expect(withSegment([], heard("  "))).toEqual([]);
  });

  it("are cut where their speaker is lost, and go on where it was not", () => {
    const open = withSegment(withSegment([], heard("One moment")), { id: "a", who: "agent", text: "So", final: false });
    const cut = withCut(open, "agent");
    expect(texts(cut)).toEqual(["customer open: One moment", "agent cut: So"]);
    expect(withCut(cut, "agent")).toBe(cut);
    const on = withSegment(cut, { id: "a", who: "agent", text: "So it is.", final: true });
    expect(texts(on)).toEqual(["customer open: One moment", "agent final: So it is."]);
  });
});
