import { describe, expect, it } from "vitest";

import { FIRST_PULSE, nextPulse, type Pulse, type Sample } from "./pulse";

/** Takes samples, half a second apart. */
function take(samples: Sample[], online = true): Pulse {
  return samples.reduce((pulse, sample) => nextPulse(pulse, sample, online), FIRST_PULSE);
}

/** As many samples as there are checks in `seconds`. */
function checks(seconds: number, sampleAt: (check: number) => Sample): Sample[] {
  return Array.from({ length: seconds * 2 }, (_, check) => sampleAt(check));
}

const talking = checks(10, (check) => ({ packets: 25 * check, answers: Math.floor(check / 5) }));
const last = talking[talking.length - 1] as Sample;

describe("what is heard", () => {
  it("is the agent, while its packets come", () => {
    expect(take(talking).heard).toBe("agent");
  });

  it("is only the network, when the agent is gone and the way is open", () => {
    const gone = checks(3, (check) => ({ ...last, answers: (last.answers ?? 0) + Math.floor((check + 4) / 5) }));
    expect(take([...talking, ...gone.slice(0, 5)]).heard).toBe("agent");
    expect(take([...talking, ...gone]).heard).toBe("only-the-network");
  });

  it("is nothing, when nobody answers either", () => {
    expect(take([...talking, ...checks(3, () => last)]).heard).toBe("nothing");
  });

  it("is nothing, when the browser knows that it is offline", () => {
    const gone = checks(3, (check) => ({ ...last, answers: 100 + check }));
    expect(take([...talking, ...gone], false).heard).toBe("nothing");
  });

  it("is the agent again with its first packet", () => {
    const back = { packets: last.packets + 1, answers: last.answers };
    expect(take([...talking, ...checks(20, () => last), back]).heard).toBe("agent");
  });

  it("blames the agent where the browser does not count answers", () => {
    const gone = checks(3, () => ({ packets: last.packets, answers: undefined }));
    expect(take([...talking, ...gone]).heard).toBe("only-the-network");
  });
});
