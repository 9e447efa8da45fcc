"""Speech servers as they are found, and what comes of each answer: speech, or a failure with a name.

Beside each oddity stands where somebody met it.
"""

import base64
import io
import wave
from dataclasses import dataclass

from testing.odd_client import PATIENT
from testing.odd_server import EVENTS, Reply, one_json, stream
from testing.sound import build_murmur
from voice_agent.answers.client import Patience

SECONDS = 0.5
SOUND = build_murmur(SECONDS)
PCM = "audio/pcm"
BYTES = "application/octet-stream"


def in_wav(pcm: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(24_000)
        writer.writeframes(pcm)
    return file.getvalue()


def sound_event(pcm: bytes) -> dict[str, object]:
    return {"type": "speech.audio.delta", "audio": base64.b64encode(pcm).decode()}


@dataclass(frozen=True)
class Odd:
    """`replies` in turn; what comes of it: speech, or a failure. `tries`: how often the server is asked."""

    name: str
    replies: list[Reply]
    failure: str = ""
    tries: int = 1
    patience: Patience = PATIENT


def fails(name: str, reply: Reply, failure: str) -> Odd:
    return Odd(name, [reply], failure, tries=3)


def speaks(name: str, reply: Reply) -> Odd:
    return Odd(name, [reply])


ODDITIES = [
    speaks("as OpenAI does", Reply([SOUND[:4800], SOUND[4800:]], PCM)),
    speaks("as OpenAI does in events", stream(sound_event(SOUND), {"type": "speech.audio.done", "usage": {}})),
    speaks("samples of no kind", Reply([SOUND], BYTES)),
    speaks("samples, one byte too many", Reply([SOUND + b"\1"], PCM)),
    speaks("samples in small pieces", Reply([SOUND[at : at + 999] for at in range(0, len(SOUND), 999)], PCM)),
    speaks("samples that are called WAV, Kokoros#112", Reply([SOUND], "audio/wav")),
    speaks("WAV in place of samples, Kokoros#63", Reply([in_wav(SOUND)], "audio/wav")),
    speaks("WAV that is called samples, wyoming_openai#43", Reply([in_wav(SOUND)], PCM)),
    speaks("WAV of no kind, openedai-speech", Reply([in_wav(SOUND)], BYTES)),
    speaks("events that are called samples", Reply(stream(sound_event(SOUND)).pieces, PCM)),
    Odd("wrong, then right", [one_json({"error": "loading"}), Reply([SOUND], PCM)], tries=2),
    fails("200 with an error, Kokoro-FastAPI", one_json({"error": {"message": "no"}}), "an error in a success"),
    fails("an error as text", Reply([b"Internal error: no voice 'alloy'"], "text/plain"), "text in place of audio"),
    fails("an error that is called samples", Reply([b'{"error": "no voice"}'], PCM), "an error in a success"),
    fails("FastAPI's own form of an error", one_json({"detail": "no voice"}), "JSON in place of audio"),
    fails("the place of a file, Kokoros#9", one_json({"status": "ok", "file_path": "/tmp/a.wav"}), "JSON in place"),
    fails("a page", Reply([b"<!doctype html><html>Sign in</html>"], "text/html"), "text in place of audio"),
    fails("nothing", Reply([], PCM), "an empty body"),
    fails("a click", Reply([SOUND[:600]], PCM), "a click in place of speech"),
    fails("silence", Reply([bytes(48_000)], PCM), "silence in place of speech"),
    fails("events without a sound", stream({"type": "speech.audio.done"}), "events without a sound"),
    fails("an error event", Reply([b'data: {"type": "error", "code": "bad_voice"}\n\n'], EVENTS), "(bad_voice)"),
    Odd("a status within the error", [one_json({"error": {"code": 401}})], "401"),
    Odd("status 400", [one_json({"error": {"message": "pcm is not supported"}}, 400)], "400"),
    Odd("no answer", [Reply([], pauses_before_headers=True)], "Timeout", patience=Patience(answer=2)),
    Odd("headers and then nothing", [Reply([], PCM, pauses=True)], "Timeout", patience=Patience(answer=2)),
]
