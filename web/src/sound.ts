/** How loud somebody is, many times a second: the level meters, and who is audible. */

/** Decibels below full scale under which nobody is speaking: rooms hum below it, speech is well above. */
const AUDIBLE_DB = -45;
const LOUDEST_DB = -12;

/** Starts a context again that the browser has stopped: iOS does so for a phone call, and leaves it so. */
export function keepRunning(context: AudioContext): void {
  if (context.state === "running") return;
  void context.resume().catch(() => undefined); // refused while that phone call lasts
}

export class Ear {
  private readonly analyser: AnalyserNode;
  private readonly samples: Float32Array<ArrayBuffer>;
  private source: MediaStreamAudioSourceNode | undefined;

  constructor(private readonly context: AudioContext) {
    this.analyser = context.createAnalyser();
    this.analyser.fftSize = 1024;
    this.samples = new Float32Array(this.analyser.fftSize);
  }

  /** Listens to this track from now on, or to nothing. */
  listenTo(track: MediaStreamTrack | undefined): void {
    this.source?.disconnect();
    this.source = track === undefined ? undefined : this.context.createMediaStreamSource(new MediaStream([track]));
    this.source?.connect(this.analyser);
  }

  /** Returns the loudness of the last 20 ms, 0 (not audible) to 1. */
  level(): number {
    if (this.source === undefined) return 0;
    this.analyser.getFloatTimeDomainData(this.samples);
    let sum = 0;
    for (const sample of this.samples) sum += sample * sample;
    const decibels = 10 * Math.log10(sum / this.samples.length + 1e-12);
    return Math.min(1, Math.max(0, (decibels - AUDIBLE_DB) / (LOUDEST_DB - AUDIBLE_DB)));
  }
}
