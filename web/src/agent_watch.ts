/** Notices that an agent has died, long before LiveKit says so (20 s), by the packets of its voice. */

import type { RemoteTrack } from "livekit-client";

const CHECK_MS = 500;
/** A living agent sends packets at least every 400 ms, also while it is silent. Checks, not seconds: laptops sleep. */
const CHECKS_WITHOUT_PACKETS = 6;

export class AgentWatch {
  private timer: number | undefined;
  private track: RemoteTrack | undefined;
  private packets = -1;
  private misses = 0;

  /** `onChange` is told at each check whether packets still come. */
  constructor(private readonly onChange: (alive: boolean) => void) {}

  /** Watches this track from now on. */
  watch(track: RemoteTrack): void {
    this.track = track;
    this.packets = -1;
    this.misses = 0;
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
    const packets = receivedPackets(report);
    this.misses = packets === this.packets ? this.misses + 1 : 0;
    this.packets = packets;
    this.onChange(this.misses < CHECKS_WITHOUT_PACKETS);
  }
}

function receivedPackets(report: RTCStatsReport): number {
  let packets = 0;
  report.forEach((entry: RTCStats & { packetsReceived?: number }) => {
    if (entry.type === "inbound-rtp") packets += entry.packetsReceived ?? 0;
  });
  return packets;
}
