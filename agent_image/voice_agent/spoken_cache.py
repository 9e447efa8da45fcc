"""Speech synthesized while the pod is idle, so that a greeting starts without waiting for a server."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from livekit import rtc

from voicesession.assignment import Greeting

SAMPLE_RATE = 24_000
FRAME_SAMPLES = SAMPLE_RATE // 50
# 24 kHz, 16 bits, one channel: 40 seconds. A waiting pod's memory is counted.
LARGEST_BYTES = 40 * SAMPLE_RATE * 2
_MOST_TEXTS = 16
_SYNTHESIS_SECONDS = 30.0

log = logging.getLogger(__name__)

Synthesize = Callable[[Greeting], Awaitable[bytes]]


class SpokenCache:
    """PCM by provider, voice and text."""

    def __init__(self, synthesize: Synthesize) -> None:
        """`synthesize` returns 24 kHz mono 16-bit samples, or raises."""
        self._synthesize = synthesize
        self._spoken: dict[Greeting, bytes] = {}
        self._task: asyncio.Task[None] | None = None

    def prepare(self, texts: Sequence[Greeting]) -> None:
        """Synthesizes these in the background, one after the other, and forgets all others."""
        wanted = list(dict.fromkeys(texts))[:_MOST_TEXTS]
        self._spoken = {text: pcm for text, pcm in self._spoken.items() if text in wanted}
        self.stop()
        self._task = asyncio.create_task(self._prepare(wanted), name="prepare greetings")

    def find(self, text: Greeting) -> bytes | None:
        """Returns the speech, or None when it has not been prepared."""
        return self._spoken.get(text)

    def stop(self) -> None:
        """Stops preparing: a call has come, and the processor is its own."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _prepare(self, texts: Sequence[Greeting]) -> None:
        for text in texts:
            if text in self._spoken:
                continue
            try:
                async with asyncio.timeout(_SYNTHESIS_SECONDS):
                    pcm = await self._synthesize(text)
            except Exception as error:
                # Whatever a provider does wrong, the call can still speak live.
                log.warning("a greeting could not be prepared", extra={"provider": text.provider, "error": error})
                continue
            if sum(map(len, self._spoken.values())) + len(pcm) <= LARGEST_BYTES:
                self._spoken[text] = pcm


async def build_frames(pcm: bytes) -> AsyncIterator[rtc.AudioFrame]:
    """Yields the samples in frames of 20 ms, the last one filled up with silence."""
    size = FRAME_SAMPLES * 2
    for start in range(0, len(pcm), size):
        chunk = pcm[start : start + size].ljust(size, b"\0")
        yield rtc.AudioFrame(chunk, SAMPLE_RATE, 1, FRAME_SAMPLES)
