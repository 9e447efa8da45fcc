/** Does something again and again while somebody looks, and can be stopped at any time. */

export class Refresher {
  private timer: number | undefined;
  private running: AbortController | undefined;
  private over = false;

  /** `run` returns whether it is to be done again; its signal is aborted when nobody waits for it any more. */
  constructor(
    private readonly run: (signal: AbortSignal) => Promise<boolean>,
    private readonly pauseMs: number,
  ) {
    document.addEventListener("visibilitychange", () => this.look());
    window.addEventListener("pagehide", () => this.pause());
    window.addEventListener("pageshow", () => this.look());
  }

  /** Does it now, and then again after each pause. */
  async start(): Promise<void> {
    this.pause();
    const mine = new AbortController();
    this.running = mine;
    const again = await this.run(mine.signal);
    if (mine.signal.aborted) return;
    this.running = undefined;
    this.over = !again;
    if (again) this.timer = window.setTimeout(() => void this.start(), this.pauseMs);
  }

  private look(): void {
    if (document.hidden) this.pause();
    else if (!this.over && this.running === undefined && this.timer === undefined) void this.start();
  }

  private pause(): void {
    window.clearTimeout(this.timer);
    this.timer = undefined;
    this.running?.abort();
    this.running = undefined;
  }
}
