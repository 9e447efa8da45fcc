import { describe, expect, it } from "vitest";

import { clockReading, duration } from "./durations";

describe("durations", () => {
  it("are read in milliseconds and seconds", () => {
    expect(duration(340)).toBe("340 ms");
    expect(duration(1250)).toBe("1.3 s");
  });

  it("are read as a clock", () => {
    expect(clockReading(67_500)).toBe("1:07");
  });
});
