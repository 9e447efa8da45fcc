import { describe, expect, it } from "vitest";

import { addressOf, apiQuery, fieldOf, isoOf, narrows, readSearch } from "./search";

const NOW = Date.parse("2026-11-28T12:00:00Z");

describe("a search", () => {
  it("is the same after a way through the address", () => {
    const address = addressOf(readSearch("?since=24h&profile=bank&reason=error&room=a+b%26c&tenant=north&cursor=x"));
    expect(address).toBe("/calls?since=24h&profile=bank&reason=error&tenant=north&room=a+b%26c&cursor=x");
    expect(addressOf(readSearch(address.slice("/calls".length)))).toBe(address);
  });

  it("leaves out what does not matter or makes no sense", () => {
    expect(addressOf(readSearch("?since=forever&from=yesterday&profile=&other=1"))).toBe("/calls");
    expect(narrows(readSearch("?cursor=abc"))).toBe(false);
    expect(narrows(readSearch("?room=x"))).toBe(true);
  });

  it("counts back from now, and does not mix that with times", () => {
    expect(apiQuery(readSearch("?since=1h&to=2026-01-01T00:00:00Z"), NOW)).toBe(
      "limit=50&from=2026-11-28T11%3A00%3A00.000Z",
    );
  });

  it("asks the service for a range", () => {
    const query = new URLSearchParams(apiQuery(readSearch("?from=2026-11-27T10:00:00%2B02:00&reason=idle"), NOW));
    expect(Object.fromEntries(query)).toEqual({ limit: "50", from: "2026-11-27T08:00:00.000Z", reason: "idle" });
  });

  it("has times in fields in the browser's own zone", () => {
    expect(isoOf(fieldOf("2026-11-28T11:30:00.000Z"))).toBe("2026-11-28T11:30:00.000Z");
    expect(fieldOf("")).toBe("");
    expect(isoOf("no time")).toBe("");
  });
});
