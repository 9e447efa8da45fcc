"""Audio in and out: any container PyAV reads to 16 kHz samples, 24 kHz samples to pcm, wav or mp3."""

import io
import itertools
import wave
from typing import Any, Literal

import av
import av.audio
import av.error
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Encoding = Literal["pcm", "wav", "mp3"]

HEARD_RATE = 16_000
SPOKEN_RATE = 24_000
CONTENT_TYPES: dict[Encoding, str] = {"pcm": "audio/pcm", "wav": "audio/wav", "mp3": "audio/mpeg"}


class AudioError(Exception):
    """Audio that cannot be read, or is too long."""


def decode(data: bytes, max_seconds: float) -> Samples:
    """Returns `data` as mono samples at 16 kHz, between -1 and 1.

    Stops reading when more than `max_seconds` have come, so that a small file cannot become much memory.

    Raises:
        AudioError: not audio, no audio in it, or too long.
    """
    resampler = av.AudioResampler(format="s16", layout="mono", rate=HEARD_RATE)
    blocks: list[npt.NDArray[Any]] = []
    left = int(max_seconds * HEARD_RATE)
    try:
        with av.open(io.BytesIO(data), "r") as container:
            if not container.streams.audio:
                raise AudioError("there is no audio in the file")
            for frame in itertools.chain(container.decode(audio=0), [None]):
                for resampled in resampler.resample(frame):
                    blocks.append(resampled.to_ndarray().reshape(-1))
                    left -= blocks[-1].size
                if left < 0:
                    raise AudioError(f"the audio is longer than {max_seconds:g} s")
    except (av.error.FFmpegError, ValueError):  # ValueError: metadata that is no UTF-8, frames that change their kind
        raise AudioError("the file is not audio that can be read; send wav, flac, mp3, mp4, ogg or webm") from None
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
    return samples.astype(np.float32) / 32768.0


def to_pcm(samples: Samples) -> bytes:
    """Returns samples between -1 and 1 as signed 16-bit little-endian mono."""
    return (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


def encode(pcm: bytes, encoding: Encoding) -> bytes:
    """Returns a whole file of `pcm` (24 kHz, 16-bit, mono)."""
    if encoding == "pcm":
        return pcm
    return _to_wav(pcm) if encoding == "wav" else _to_mp3(pcm)


def _to_wav(pcm: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(SPOKEN_RATE)
        wav.writeframes(pcm)
    return file.getvalue()


def _to_mp3(pcm: bytes) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=SPOKEN_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2").reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SPOKEN_RATE
        for block in [frame, None]:
            container.mux(stream.encode(block))
    return file.getvalue()
