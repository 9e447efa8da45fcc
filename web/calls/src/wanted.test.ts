import { describe, expect, it } from "vitest";

import { wantedAfter } from "./wanted";

describe("after signing in", () => {
  it("somebody gets the call they asked for", () => {
    expect(wantedAfter("/calls/room-1", "?session=7")).toBe("/calls/room-1?session=7");
    expect(wantedAfter("/calls", "?reason=error")).toBe("/calls?reason=error");
  });

  it("also when the first key was wrong", () => {
    expect(wantedAfter("/calls/sign-in", "?next=%2Fcalls%2Froom-1")).toBe("/calls/room-1");
    expect(wantedAfter("/calls/sign-in", "")).toBe("");
  });

  it.each(["https://elsewhere.example", "//elsewhere.example", "/calls//elsewhere", "/callsign", "/calls/\\x", "/"])(
    "nobody is sent to %s",
    (next) => expect(wantedAfter("/calls/sign-in", `?next=${encodeURIComponent(next)}`)).toBe(""),
  );
});
