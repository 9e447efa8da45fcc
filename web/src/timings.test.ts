import { describe, expect, it } from "vitest";

import { median, Stopwatch } from "./timings";

/** Has somebody make a sound every 40 ms. */
function sound(from: number, to: number, hear: (now: number) => void): void {
  for (let now = from; now <= to; now += 40) hear(now);
}

describe("a stopwatch", () => {
  it("counts from the click and keeps the first of each", () => {
    const watch = new Stopwatch(1000);
    watch.reached("connected", 1480);
    watch.reached("connected", 9000);
    expect(watch.read(3000)).toEqual({ milestones: { connected: 480 }, answers: [], callMs: 2000 });
  });

  it("tells of each milestone once, by the clock's own reading", () => {
    const told: [string, number][] = [];
    const watch = new Stopwatch(1000, (milestone, now) => told.push([milestone, now]));
    watch.reached("connected", 1480.25);
    watch.reached("connected", 9000);
    watch.agentHeard(2000);
    expect(told).toEqual([
      ["connected", 1480.25],
      ["firstAudio", 2000],
    ]);
  });

  it("measures from the customer's last sound to the agent's first", () => {
    const watch = new Stopwatch(0);
    sound(1000, 2000, (now) => watch.agentHeard(now));
    sound(3000, 5000, (now) => watch.customerHeard(now));
    sound(5800, 7000, (now) => watch.agentHeard(now));
    expect(watch.read(8000)).toMatchObject({ milestones: { firstAudio: 1000 }, answers: [800] });
  });

  it("takes a short pause of the agent for the same answer", () => {
    const watch = new Stopwatch(0);
    sound(0, 400, (now) => watch.agentHeard(now));
    sound(2000, 3000, (now) => watch.customerHeard(now));
    sound(3600, 4000, (now) => watch.agentHeard(now));
    watch.customerHeard(4100);
    sound(4500, 5000, (now) => watch.agentHeard(now));
    expect(watch.read(6000).answers).toEqual([600]);
  });

  it("takes no greeting, and nobody who did not wait, for an answer", () => {
    const watch = new Stopwatch(0);
    watch.customerHeard(100);
    sound(1000, 1500, (now) => watch.agentHeard(now));
    sound(3000, 4000, (now) => watch.customerHeard(now));
    sound(4040, 4500, (now) => watch.agentHeard(now));
    expect(watch.read(6000).answers).toEqual([]);
  });

  it("measures answers to typed messages", () => {
    const watch = new Stopwatch(0);
    watch.agentHeard(100);
    watch.customerTyped(2000);
    watch.agentHeard(2450);
    expect(watch.read(3000).answers).toEqual([450]);
  });

  it("stops at the end", () => {
    const watch = new Stopwatch(0);
    watch.ended(5000);
    watch.ended(7000);
    expect(watch.read(9000).callMs).toBe(5000);
  });
});

it("finds the value in the middle", () => {
  expect(median([])).toBeUndefined();
  expect(median([900, 100, 500])).toBe(500);
  expect(median([4, 1, 2, 3])).toBe(2.5);
});
