"""Transcription servers as they are found, and what comes of each answer: a text, nothing said, or a failure.

Beside each oddity stands where somebody met it.
"""

from dataclasses import dataclass

from testing.odd_client import PATIENT
from testing.odd_server import JSON, Reply, one_json, stream
from voice_agent.answers.client import Patience

WORDS = "A table for two, please."


@dataclass(frozen=True)
class Odd:
    """`replies` in turn; what comes of it: a text, or a failure. `tries`: how often the server is asked."""

    name: str
    replies: list[Reply]
    text: str = ""
    failure: str = ""
    tries: int = 1
    patience: Patience = PATIENT


def fails(name: str, reply: Reply, failure: str) -> Odd:
    return Odd(name, [reply], failure=failure, tries=3)


def hears(name: str, reply: Reply, text: str = WORDS) -> Odd:
    return Odd(name, [reply], text)


SEGMENTS = [{"text": " A table for two,"}, {"text": " please. "}]
SUBTITLES = b"WEBVTT\n\n00:00.000 --> 00:01.000\nA table for two,\n\n00:01.000 --> 00:02.000\nplease.\n"

ODDITIES = [
    hears("as OpenAI does", one_json({"text": WORDS})),
    hears("with all details", one_json({"text": WORDS, "language": "english", "duration": 1, "segments": SEGMENTS})),
    hears("spaces and lines, whisper.cpp", one_json({"text": " A table for two,\n please.\n"})),
    hears("plain text, speaches#44", Reply([WORDS.encode()], "text/plain; charset=utf-8")),
    hears("plain text that is called JSON", Reply([WORDS.encode()], JSON)),
    hears("a string, whisperx-api-server#4", one_json(WORDS)),
    hears("segments alone, runpod", one_json({"segments": SEGMENTS})),
    hears("segments as the text", one_json({"text": SEGMENTS})),
    hears("another name, runpod", one_json({"transcription": WORDS})),
    hears("inside a result", one_json({"result": {"text": WORDS}})),
    hears("languages as words", one_json({"text": WORDS, "languages": ["en"]})),
    hears("subtitles", Reply([SUBTITLES], "text/vtt")),
    hears("events, speaches", stream({"type": "transcript.text.delta", "delta": "A table"}, {"text": WORDS})),
    hears("deltas alone", stream({"delta": "A table "}, {"delta": "for two, please."})),
    hears("nothing to hear", one_json({"text": ""}), ""),
    hears("nothing to hear, whisper.cpp", one_json({"text": " [BLANK_AUDIO]\n"}), ""),
    hears("no segments", one_json({"text": "", "segments": []}), ""),
    Odd("wrong, then right", [one_json({"error": "loading"}), one_json({"text": WORDS})], WORDS, tries=2),
    fails("200 with an error", one_json({"error": {"message": "no"}}), "an error in a success"),
    fails("an error with a name", one_json({"error": "no", "code": "bad_audio"}), "an error in a success (bad_audio)"),
    fails("FastAPI's own form of an error", one_json({"detail": "no model"}), "JSON without a text"),
    fails("no text", one_json({"task": "transcribe", "duration": 1.0}), "JSON without a text"),
    fails("null", one_json({"text": None}), "JSON without a text"),
    fails("an empty body", Reply([], JSON), "an empty body"),
    fails("JSON that breaks off", Reply([b'{"text": "A table'], JSON), "no transcript"),
    fails("a page", Reply([b"<!doctype html><html>Sign in</html>"], "text/html"), "no transcript"),
    Odd("a status within the error", [one_json({"error": {"code": 403}})], failure="403"),
    Odd("status 500", [one_json({"error": {"message": "no"}}, 500)], failure="500", tries=3),
    Odd("no answer", [Reply([], pauses_before_headers=True)], failure="Timeout", patience=Patience(answer=2)),
    Odd("headers and then nothing", [Reply([], JSON, pauses=True)], failure="Timeout", patience=Patience(answer=2)),
]
