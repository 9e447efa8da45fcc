"""Text to speech with hibari on the processor."""

import re

import numpy as np
from hibari import Hibari

from local_models.audio import SPOKEN_RATE, to_pcm

# A first piece of about this many characters takes some 40 ms; the listener hears it while the rest is made.
_FIRST_PIECE_FROM = 25
_LONG_SENTENCE = 60
_CLAUSE_END = re.compile(r"(?<=[,;:—])\s+")
_SILENCE = bytes(SPOKEN_RATE * 2 // 10)
# The model begins with 0.3 s of silence, for which a customer would wait at each answer.
_QUIET = 0.003
_LEAD = SPOKEN_RATE * 3 // 100


class Synthesizer:
    """Loads the model; then `synthesize` is called from threads."""

    def __init__(self) -> None:
        self._hibari = Hibari()  # type: ignore[no-untyped-call]

    def synthesize(self, text: str, speed: float = 1.0) -> bytes:
        """Returns `text` spoken, as 24 kHz 16-bit mono; a tenth of a second of silence where nothing can be spoken.

        The same text gives the same bytes. `speed`: 0.5 to 2.
        """
        samples = self._hibari(text, speed=speed, seed=0)
        return to_pcm(cut_lead(samples)) if np.any(samples) else _SILENCE


def cut_lead(samples: np.ndarray) -> np.ndarray:
    """Returns samples (-1 to 1, 24 kHz) with no more than 30 ms of silence before the first sound."""
    loud = np.flatnonzero(np.abs(samples) > _QUIET)
    return samples[max(0, loud[0] - _LEAD) :] if loud.size else samples


def split_pieces(text: str) -> list[str]:
    """Returns `text` in pieces to be spoken one after the other: its sentences, a long first one cut at a clause."""
    sentences: list[str] = Hibari.split_sentences(text)  # type: ignore[no-untyped-call]
    if not sentences or len(sentences[0]) < _LONG_SENTENCE:
        return sentences
    cut = next((match for match in _CLAUSE_END.finditer(sentences[0]) if match.start() >= _FIRST_PIECE_FROM), None)
    if cut is None:
        return sentences
    return [sentences[0][: cut.start()], sentences[0][cut.end() :], *sentences[1:]]
