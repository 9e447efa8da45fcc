"""What a guard is given of a server's answer, and what it gives back."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """An answer of status 200. `asked`: the request's fields, where it was JSON."""

    asked: Mapping[str, Any]
    media_type: str
    pieces: AsyncIterator[bytes]


@dataclass(frozen=True)
class Mended:
    """The same, as the client expects it. Its first piece is there: something can be said, or is about to be done."""

    media_type: str
    pieces: AsyncIterator[bytes]


def encode_event(value: object) -> bytes:
    """Returns the server-sent event that holds this as JSON."""
    return f"data: {json.dumps(value)}\n\n".encode()


async def put_back(pieces: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields what was looked at already, then the rest."""
    for piece in pieces:
        yield piece
    async for piece in rest:
        yield piece
