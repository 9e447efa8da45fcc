"""Sound as 24 kHz mono 16-bit samples: what is audible in it, for everything that times a call, and a murmur."""

import array
import math

from local_cluster.layout import cache_folder

# Where spoken sentences are kept for the next time.
SPOKEN = cache_folder() / "speech"
SAMPLE_RATE = 24_000
FRAME_MILLIS = 10
FRAME_SAMPLES = SAMPLE_RATE * FRAME_MILLIS // 1000
FRAME_BYTES = FRAME_SAMPLES * 2
# Root mean square (of 32767) above which a frame counts as audible: comfort noise stays below 30, speech above 500.
AUDIBLE_RMS = 150.0


def build_murmur(seconds: float, start: int = 0) -> bytes:
    """Returns something as loud and as uneven as speech, for whoever needs a voice and no words, from a sample on."""
    samples = (
        9000 * math.sin(2 * math.pi * 180 * i / SAMPLE_RATE) * (0.6 + 0.4 * math.sin(2 * math.pi * 4 * i / SAMPLE_RATE))
        for i in range(start, start + max(1, int(seconds * SAMPLE_RATE)))
    )
    return array.array("h", (int(sample) for sample in samples)).tobytes()


def rms(pcm: bytes) -> float:
    """Returns the root mean square of the samples."""
    samples = array.array("h", pcm)
    return math.sqrt(sum(sample * sample for sample in samples) / max(1, len(samples)))


def audible_part(pcm: bytes) -> bytes:
    """Returns the samples without the silence before and after them, to a frame of 10 ms; b"" where all is silence."""
    loud = [start for start in range(0, len(pcm), FRAME_BYTES) if rms(pcm[start : start + FRAME_BYTES]) >= AUDIBLE_RMS]
    return pcm[loud[0] : loud[-1] + FRAME_BYTES] if loud else b""


def silence_after(pcm: bytes) -> float:
    """Returns the seconds of silence with which the samples end."""
    start = (len(pcm) - 1) // FRAME_BYTES * FRAME_BYTES
    while start >= 0 and rms(pcm[start : start + FRAME_BYTES]) < AUDIBLE_RMS:
        start -= FRAME_BYTES
    return max(0, len(pcm) - start - FRAME_BYTES) / 2 / SAMPLE_RATE
