/** Keeps the screen on for as long as a call lasts: a phone that locks itself takes the page its microphone. */

export function keepAwake(until: AbortSignal): void {
  let lock: WakeLockSentinel | undefined;
  const ask = async (): Promise<void> => {
    if (document.visibilityState !== "visible") return;
    try {
      lock = await navigator.wakeLock.request("screen");
    } catch {
      return; // the battery is low, or this browser has none to give
    }
    if (until.aborted) await lock.release();
  };
  // The browser takes it back whenever the page is hidden.
  document.addEventListener("visibilitychange", () => void ask(), { signal: until });
  until.addEventListener("abort", () => void lock?.release());
  void ask();
}
