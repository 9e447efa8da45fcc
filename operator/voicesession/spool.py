"""What an agent could not write of its conversation, sealed for its way through the operator to the database. Pure.

A *piece* is a part of it that can be delivered alone: JSON, compressed, encrypted by AES-GCM with a key of its attempt.
"""

import hmac
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from voicesession.models import Model

# A ConfigMap holds 1 MiB, in Base64.
LARGEST_PIECE = 512 * 1024
# Hours of talk are less: words compress well, and an hour of them is 100 KB before.
MOST_PIECES = 8

_NONCE_BYTES = 12
_VERSION = b"1"
# About what becomes one piece even where it does not compress at all.
_PLAIN_BYTES = LARGEST_PIECE - 8 * 1024
# Nobody unpacks more: a piece comes from a pod.
_LARGEST_PLAIN = 16 * 1024 * 1024


class SpoolError(Exception):
    """A piece that cannot be opened: made with another key, for another attempt, or not by us."""


class SpooledStart(Model):
    """What the conversation's first row says, should it not be written yet."""

    room_id: str
    participant_id: str | None = None
    llm_provider: str | None = None
    is_local_mode: bool = False
    profile: str
    tenant: str | None = None
    started_at: datetime | None = None


class SpooledEnd(Model):
    """The agent's own word on its end."""

    reason: str
    ended_at: datetime
    usage: dict[str, Any] = Field(default_factory=dict)


class Spooled(Model):
    """What is in a piece. `items`: rows as `voice.append_items` takes them."""

    started: SpooledStart
    items: list[dict[str, Any]] = Field(default_factory=list)
    ended: SpooledEnd | None = None


class SealedPiece(Model):
    """A piece as it travels. `rows`: how many items are in it; `data`: Base64 on the wire."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )

    rows: int = Field(ge=0)
    data: bytes = Field(max_length=LARGEST_PIECE)


class Spool(Model):
    """All that one attempt could not write: the answer to `GET /spool`. `lost`: rows that are in no piece."""

    session_id: str
    attempt: int = Field(ge=1)
    pieces: list[SealedPiece] = Field(default_factory=list, max_length=MOST_PIECES)
    lost: int = Field(default=0, ge=0)


@dataclass(frozen=True, slots=True)
class SpoolKey:
    """The key of one attempt's pieces."""

    session_id: str
    attempt: int
    secret: bytes

    def seal(self, spooled: Spooled) -> bytes:
        """Returns the piece's bytes."""
        wire = {**spooled.model_copy(update={"items": []}).to_wire(), "items": spooled.items}
        plain = json.dumps(wire, separators=(",", ":")).encode()
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.secret).encrypt(nonce, zlib.compress(plain), self._bound_to)

    def open(self, data: bytes) -> Spooled:
        """Returns what is in a piece.

        Raises:
            SpoolError: it is none of this attempt's.
        """
        try:
            packed = AESGCM(self.secret).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], self._bound_to)
            unpacker = zlib.decompressobj()
            plain = unpacker.decompress(packed, _LARGEST_PLAIN)
            if unpacker.unconsumed_tail:
                raise SpoolError("a piece is larger than any of ours")
            return Spooled.model_validate(json.loads(plain))
        except InvalidTag as error:
            raise SpoolError("a piece was sealed with another key, or for another attempt") from error
        except (ValueError, zlib.error, ValidationError) as error:
            raise SpoolError(f"a piece holds nothing of ours: {type(error).__name__}") from None

    @property
    def _bound_to(self) -> bytes:
        return b"|".join((_VERSION, self.session_id.encode(), str(self.attempt).encode()))


def spool_key(session_id: str, attempt: int, write_token: str) -> SpoolKey:
    """Returns the key of an attempt's pieces, by its write token.

    Who has that token may read the conversation in the database, so the key opens nothing more.
    """
    return SpoolKey(session_id, attempt, hmac.digest(write_token.encode(), b"spool", "sha256"))


def build_spool(
    key: SpoolKey, started: SpooledStart, items: Sequence[Mapping[str, Any]], ended: SpooledEnd | None
) -> Spool:
    """Returns it all as sealed pieces; rows beyond `MOST_PIECES`, and any that fits into none, are counted as lost."""
    pieces: list[SealedPiece] = []
    lost = 0
    for batch in _batches(items):
        data = key.seal(Spooled(started=started, items=batch, ended=ended))
        if len(data) > LARGEST_PIECE or len(pieces) == MOST_PIECES:
            lost += len(batch)
        else:
            pieces.append(SealedPiece(rows=len(batch), data=data))
    return Spool(session_id=key.session_id, attempt=key.attempt, pieces=pieces, lost=lost)


def _batches(items: Sequence[Mapping[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yields the rows in batches that fit into a piece each; one empty batch where there are no rows."""
    batch: list[dict[str, Any]] = []
    size = 0
    for item in items:
        length = len(json.dumps(item, separators=(",", ":"))) + 1
        if batch and size + length > _PLAIN_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(dict(item))
        size += length
    if batch or not items:
        yield batch
