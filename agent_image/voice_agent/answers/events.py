"""Reads a stream of JSON as servers write it: server-sent events, lines, or one document, with what lies between."""

import json
from collections.abc import AsyncIterator
from typing import Any

from voice_agent.answers.wrong_answer import WrongAnswerError, raise_error

_FIELDS = (b"event:", b"id:", b"retry:")
_DONE = b"[DONE]"
# Far over any chunk, and over a whole answer that was not streamed.
_LARGEST_BYTES = 4 * 1024 * 1024


async def read_events(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Yields each JSON object of the stream, until `[DONE]` or its end.

    A document may be written over several lines, and an event may lack its empty line. Comments are left out.

    Raises:
        WrongAnswerError: what comes is an error, or no JSON.
    """
    unfinished = b""
    async for line in _read_lines(pieces):
        payload = _read_payload(line)
        if payload.startswith(_DONE):
            break
        if not payload and unfinished and not line:
            raise WrongAnswerError("something that is no JSON")
        if not payload:
            continue
        unfinished += payload
        if len(unfinished) > _LARGEST_BYTES:
            raise WrongAnswerError("more than is ever an answer")
        try:
            value = json.loads(unfinished)
        except ValueError:
            continue
        unfinished = b""
        raise_error(value)
        if isinstance(value, dict):
            yield value
    if unfinished:
        raise WrongAnswerError("something that is no JSON")


def _read_payload(line: bytes) -> bytes:
    if line.startswith(_FIELDS):
        return b""
    payload = line.removeprefix(b"data:").strip()
    return b"" if payload.startswith(b":") else payload


async def _read_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.strip(b"\r \xef\xbb\xbf")
    if rest:
        yield rest.strip(b"\r \xef\xbb\xbf")
