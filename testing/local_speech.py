"""Spoken sentences for scripted customers: made by the text-to-speech of the local models, and kept in the cache."""

import functools
import hashlib
import os
from importlib.metadata import version
from pathlib import Path

from local_models.audio import encode
from local_models.text_to_speech import Synthesizer
from testing.sound import SPOKEN


def speech_wav(sentence: str) -> Path:
    """Returns a WAV file (24 kHz, mono, 16-bit) in which `sentence` is spoken. The same sentence gives the same file.

    Kept in $XDG_CACHE_HOME/voice-agent-operator/speech; the model is loaded only for sentences that are new.
    """
    key = hashlib.sha256(f"hibari {version('hibari-tts')} {sentence}".encode()).hexdigest()[:24]
    file = SPOKEN / f"{key}.wav"
    if not file.exists():
        # Renamed into place: several tests may ask at the same time.
        SPOKEN.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(encode(_synthesizer().synthesize(sentence), "wav"))
        unfinished.rename(file)
    return file


def speech_pcm(sentence: str) -> bytes:
    """Returns the samples of `speech_wav`: 24 kHz, mono, signed 16-bit little-endian."""
    header_bytes = 44
    return speech_wav(sentence).read_bytes()[header_bytes:]


@functools.cache
def _synthesizer() -> Synthesizer:
    return Synthesizer()
