"""What stands around the speech models: audio files, pieces of text, repeated words, settings, a busy lane."""

import io
import wave
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import ValidationError

from local_models.audio import SPOKEN_RATE, AudioError, Encoding, decode, encode, to_pcm
from local_models.errors import error_middleware
from local_models.lane import Lane, QueueFullError
from local_models.metrics import Metrics
from local_models.settings import LocalModelsSettings
from local_models.speech_api import SpeechApi
from local_models.speech_to_text import repeats_itself
from local_models.text_to_speech import cut_lead, split_pieces


def tone(seconds: float) -> bytes:
    """Returns 440 Hz at half the full scale."""
    turns = np.arange(int(seconds * SPOKEN_RATE)) * 440 / SPOKEN_RATE
    """Returns 440 Hz at half the full scale."""
    turns = np.arange(int(seconds * SPOKEN_RATE)) * 440 / SPOKEN_RATE
    return to_pcm((0.5 * np.sin(2 * np.pi * turns)).astype(np.float32))


def test_speech_begins_at_once() -> None:
    silence, sound = np.zeros(SPOKEN_RATE, np.float32), np.full(2400, 0.2, np.float32)
    kept = cut_lead(np.concatenate([silence, sound, silence]))
    assert np.flatnonzero(kept)[0] == SPOKEN_RATE * 30 // 1000
    assert kept.size == kept.nonzero()[0][0] + sound.size + silence.size
    assert cut_lead(sound).size == sound.size
    assert cut_lead(silence).size == silence.size


@pytest.mark.parametrize("encoding", ["wav", "mp3"])
def test_what_is_encoded_can_be_decoded(encoding: Encoding) -> None:
    samples = decode(encode(tone(1.0), encoding), max_seconds=10)
    assert samples.size == pytest.approx(16_000, abs=1_500)
    crossings = np.count_nonzero(np.diff(np.signbit(samples[4000:12000])))
    assert crossings == pytest.approx(440, abs=4)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.05)


def test_a_wav_says_its_length() -> None:
    with wave.open(io.BytesIO(encode(tone(1.0), "wav"))) as file:
        assert file.getparams()[:4] == (1, 2, 24_000, 24_000)


def test_pcm_is_clipped_and_little_endian() -> None:
    assert to_pcm(np.array([0.0, 2.0, -2.0], np.float32)) == b"\x00\x00\xff\x7f\x01\x80"


@pytest.mark.parametrize("data", [b"", b"not audio at all", b"RIFF\x00\x00\x00\x00WAVE"])
def test_what_is_no_audio_is_refused(data: bytes) -> None:
    with pytest.raises(AudioError):
        decode(data, max_seconds=10)


def test_long_audio_is_refused() -> None:
    with pytest.raises(AudioError, match="longer than 2 s"):
        decode(encode(tone(3.0), "mp3"), max_seconds=2)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hello. How are you?", ["Hello.", "How are you?"]),
        ("A short one, with a comma.", ["A short one, with a comma."]),
        (
            "I would like to book a table for two, tomorrow evening, please. Thank you, and goodbye, my friends.",
            [
                "I would like to book a table for two,",
                "tomorrow evening, please.",
                "Thank you, and goodbye, my friends.",
            ],
        ),
        ("One very long sentence without any comma or other mark in it at all.",
         ["One very long sentence without any comma or other mark in it at all."]),
        ("  ", []),
    ],
)  # fmt: skip
def test_pieces(text: str, pieces: list[str]) -> None:
    assert split_pieces(text) == pieces


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("Hello? Hello?", True),
        ("What did I order? What did I order? What did I", True),
        ("Yes? Yes? Yes", True),
        ("Hello.", False),
        ("No, no, thank you.", False),
        ("", False),
    ],
)
def test_repetition(text: str, repeats: bool) -> None:
    assert repeats_itself(text) is repeats


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_MODELS_SERVICES", "chat, stt")
    monkeypatch.setenv("LOCAL_MODELS_API_KEY", "k")
    # Kubernetes sets this in pods beside a Service called local-models.
    monkeypatch.setenv("LOCAL_MODELS_PORT", "tcp://10.96.0.7:8000")
    settings = LocalModelsSettings()
    assert (settings.services, settings.listen_port) == (("chat", "stt"), 8000)
    assert "k" not in repr(settings.api_key)


@pytest.mark.parametrize(("name", "value"), [("SERVICES", ""), ("SERVICES", "chat,tea"), ("THREADS", "0")])
def test_wrong_settings_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"LOCAL_MODELS_{name}", value)
    with pytest.raises(ValidationError):
        LocalModelsSettings()


class _FullAfterOnePiece(Lane):
    """Takes a request's first piece and no other."""

    async def run(self, work: Callable[[], Any], *, admitted: bool = False) -> Any:
        if admitted:
            raise QueueFullError("no turn within 1 s")
        return work()


async def test_a_file_whose_later_pieces_get_no_turn_is_refused_and_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speech = SpeechApi(LocalModelsSettings(), Metrics())
    lane = _FullAfterOnePiece("tts", concurrency=1, queue_limit=1, timeout_seconds=1)
    monkeypatch.setattr(speech, "_lanes", {"tts": lane})
    monkeypatch.setattr(speech, "_synthesizer", SimpleNamespace(synthesize=lambda piece, speed: bytes(2)))
    app = web.Application(middlewares=[error_middleware])
    app.router.add_post("/v1/audio/speech", speech.speak)
    async with TestClient(TestServer(app)) as client:
        text = "This is the first of two sentences, and it is long. This is the second one, which is long as well."
        body = {"model": "any", "input": text, "response_format": "wav"}
        async with client.post("/v1/audio/speech", json=body) as answer:
            assert answer.status == 429, await answer.text()
            assert (await answer.json())["error"]["code"] == "rate_limit_exceeded"
