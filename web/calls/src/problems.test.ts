import { describe, expect, it } from "vitest";

import { problemOf, UNREACHABLE } from "./problems";

describe("problems", () => {
  it.each([
    [401, "signed-out", false],
    [403, "forbidden", false],
    [404, "missing", false],
    [422, "refused", false],
    [429, "refused", true],
    [503, "refused", true],
  ])("of %d are %s, and asking again helps: %s", (status, code, passes) => {
    expect(problemOf(status, "Why.")).toMatchObject({ code, passes });
  });

  it("say what the service says, where that tells more", () => {
    expect(problemOf(422, "`from` is no time.").advice).toBe("`from` is no time.");
    expect(problemOf(404, "Not found").advice).toContain("another tenant's");
    expect(problemOf(400, undefined).advice).toBe("It answered 400.");
  });

  it("are those of a proxy where the service did not speak", () => {
    expect(problemOf(502, undefined)).toBe(UNREACHABLE);
  });
});
