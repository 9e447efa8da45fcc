"""Guards a transcription: whatever way the server writes it, the text is found, or there is none."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from voice_agent.answers.answer import Answer, Mended
from voice_agent.answers.events import read_events
from voice_agent.answers.wrong_answer import WrongAnswerError, raise_error

_LARGEST_BYTES = 1024 * 1024
_KEYS = ("text", "transcript", "transcription")
# How whisper.cpp and its like write that there was nothing to hear.
_NOTHING = re.compile(r"\s*[\[(]\s*(?:blank[_ ]audio|silence|no speech|inaudible)\s*[\])]\s*", re.IGNORECASE)
# The times before a line, where a server answers with subtitles.
_TIMES = re.compile(r"^\W*\d[\d:.,]*\s*-->\s*\d[\d:.,]*\]?\s*|^\d+\s*$|^WEBVTT.*$", re.MULTILINE)


async def mend_transcript(answer: Answer) -> Mended:
    """Returns the answer as `{"text": …}`, with the language where the server has named it.

    Raises:
        WrongAnswerError: it is an error, or holds no text.
    """
    body = b""
    async for piece in answer.pieces:
        body += piece
        if len(body) > _LARGEST_BYTES:
            raise WrongAnswerError("more than is ever a transcript")
    found = await _read(body, answer.media_type)
    return Mended("application/json", _one(json.dumps(found).encode()))


async def _read(body: bytes, media_type: str) -> dict[str, Any]:
    if not body.strip():
        raise WrongAnswerError("an empty body")
    if media_type == "text/event-stream" or body.lstrip().startswith((b"data:", b"event:")):
        return {"text": _clean(await _read_deltas(body))}
    try:
        value = json.loads(body)
    except ValueError:
        return {"text": _clean(_read_plain(body, media_type))}
    raise_error(value)
    text = _find_text(value)
    if text is None:
        raise WrongAnswerError("no transcript: JSON without a text")
    language = value.get("language") if isinstance(value, Mapping) else None
    return {"text": _clean(text), **({"language": language, "duration": 0} if isinstance(language, str) else {})}


def _read_plain(body: bytes, media_type: str) -> str:
    text = body.decode(errors="replace")
    if media_type.endswith("html") or text.lstrip().startswith(("<", "{", "[{")):
        raise WrongAnswerError("no transcript")
    return text


async def _read_deltas(body: bytes) -> str:
    text = ""
    async for event in read_events(_one(body)):
        whole = _find_text(event)
        text = whole if whole is not None else text + str(event.get("delta") or "")
    return text


def _find_text(value: object) -> str | None:
    """Returns the text, wherever it is: a field, a list of pieces, the segments, or the whole; None: nowhere."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        pieces = [_find_text(each) for each in value]
        return " ".join(piece.strip() for piece in pieces if piece) if None not in pieces else None
    if not isinstance(value, Mapping):
        return None
    keys = (*_KEYS, "segments", "chunks", "result", "results", "output", "data")
    found = (_find_text(value[key]) for key in keys if key in value)
    return next((text for text in found if text is not None), None)


def _clean(text: str) -> str:
    return "" if _NOTHING.fullmatch(text) else " ".join(_TIMES.sub("", text).split())


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body
