/** Notices that an agent has died, long before LiveKit says so (20 s), by the packets of its voice. */

import type { RemoteTrack } from "livekit-client";

import { FIRST_PULSE, nextPulse, type Pulse, type Sample } from "./pulse";

const CHECK_MS = 500;

export class AgentWatch {
  private timer: number | undefined;
  private track: RemoteTrack | undefined;
  private pulse = FIRST_PULSE;

  /** `isOnline`: whether the customer is known to have a network. `onCheck` is told at each check what is heard. */
  constructor(
    private readonly isOnline: () => boolean,
    private readonly onCheck: (heard: Pulse["heard"]) => void,
  ) {}

  /** Watches this track from now on. */
  watch(track: RemoteTrack): void {
    this.track = track;
    this.pulse = FIRST_PULSE;
    this.timer ??= window.setInterval(() => void this.check(), CHECK_MS);
  }

  stop(): void {
    window.clearInterval(this.timer);
    this.timer = undefined;
    this.track = undefined;
  }

  private async check(): Promise<void> {
    const track = this.track;
    const report = await track?.receiver?.getStats();
    if (report === undefined || track !== this.track || track?.isMuted) return;
    this.pulse = nextPulse(this.pulse, sampleOf(report), this.isOnline());
    this.onCheck(this.pulse.heard);
  }
}

function sampleOf(report: RTCStatsReport): Sample {
  const sample: Sample = { packets: 0, answers: undefined };
  report.forEach((entry: RTCStats & { packetsReceived?: number; responsesReceived?: number }) => {
    if (entry.type === "inbound-rtp") sample.packets += entry.packetsReceived ?? 0;
    if (entry.type === "candidate-pair" && entry.responsesReceived !== undefined) {
      sample.answers = (sample.answers ?? 0) + entry.responsesReceived;
    }
  });
  return sample;
}
