"""Guards synthesized speech: passes on audio by its true kind, and nothing that is none."""

import base64
import binascii
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from voice_agent.answers.answer import Answer, Mended, encode_event, put_back
from voice_agent.answers.events import read_events
from voice_agent.answers.wrong_answer import WrongAnswerError, raise_error

_PCM = "audio/pcm"
_EVENTS = "text/event-stream"
# What a file of each kind begins with. Raw samples have no beginning of their own.
_BEGINNINGS = {b"RIFF": "audio/wav", b"ID3": "audio/mpeg", b"OggS": "audio/ogg", b"fLaC": "audio/flac"}
_TEXT_BEGINNINGS = (b"{", b"[", b"<", b'"', b"data:", b"event:")
# Of raw samples, 50 ms: a shorter sound is no speech.
_LEAST_BYTES = 2400
_LOOK_BYTES = 64
_LARGEST_TEXT = 64 * 1024


async def mend_speech(answer: Answer) -> Mended:
    """Returns the answer, named for what it holds, when its first sound is there.

    Raises:
        WrongAnswerError: it is no audio, or silence.
    """
    seen = await _look(answer.pieces)
    begun = b"".join(seen)
    if not begun:
        raise WrongAnswerError("no audio: an empty body")
    pieces = put_back(seen, answer.pieces)
    if answer.media_type == _EVENTS or begun.startswith((b"data:", b"event:")):
        return await _mend_events(pieces)
    if _is_text(begun, answer.media_type):
        await _refuse_text(pieces)
    kind = next((kind for start, kind in _BEGINNINGS.items() if begun.startswith(start)), None)
    if kind is None and answer.media_type not in {"audio/wav", "audio/x-wav", "audio/wave"}:
        kind = answer.media_type
    asked_for = answer.asked.get("response_format")
    if kind is None or (asked_for == "pcm" and not kind.startswith("audio/")):
        kind = _PCM
    return Mended(kind, await _skip_silence(pieces) if kind == _PCM else pieces)


async def _look(pieces: AsyncIterator[bytes]) -> list[bytes]:
    """Reads so much that the kind of the answer can be told."""
    seen: list[bytes] = []
    async for piece in pieces:
        seen.append(piece)
        if sum(map(len, seen)) >= _LOOK_BYTES:
            break
    return seen


def _is_text(begun: bytes, media_type: str) -> bool:
    if not begun.lstrip().startswith(_TEXT_BEGINNINGS) and not media_type.startswith(("text/", "application/json")):
        return False
    return begun[:_LOOK_BYTES].isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in begun[:_LOOK_BYTES])


async def _refuse_text(pieces: AsyncIterator[bytes]) -> None:
    body = b""
    async for piece in pieces:
        body += piece
        if len(body) > _LARGEST_TEXT:
            break
    try:
        raise_error(json.loads(body))
    except ValueError:
        raise WrongAnswerError("text in place of audio") from None
    raise WrongAnswerError("JSON in place of audio")


async def _skip_silence(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Returns the samples once there is a sound among them.

    Raises:
        WrongAnswerError: they end without one.
    """
    seen: list[bytes] = []
    length, has_sound = 0, False
    async for piece in pieces:
        seen.append(piece)
        length += len(piece)
        has_sound = has_sound or piece.count(0) < len(piece)
        if has_sound and length >= _LEAST_BYTES:
            return put_back(seen, pieces)
    if not has_sound:
        raise WrongAnswerError("silence in place of speech")
    raise WrongAnswerError("a click in place of speech")


async def _mend_events(pieces: AsyncIterator[bytes]) -> Mended:
    """Returns the events, once there is a sound among them."""
    events = read_events(pieces)
    seen: list[bytes] = []
    async for event in events:
        seen.append(encode_event(event))
        if _has_sound(event):
            return Mended(_EVENTS, put_back(seen, _encode(events)))
    raise WrongAnswerError("no audio: events without a sound")


def _has_sound(event: Mapping[str, Any]) -> bool:
    try:
        sound = base64.b64decode(str(event.get("delta") or event.get("audio") or ""))
    except binascii.Error:
        raise WrongAnswerError("audio that cannot be read") from None
    return sound.count(0) < len(sound)


async def _encode(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    async for event in events:
        yield encode_event(event)
