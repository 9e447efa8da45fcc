"""The names a call gets: random, or derived from an Idempotency-Key, so that a repetition opens no second room."""

import base64
import hashlib
import hmac
import math
import re
import uuid
from dataclasses import dataclass

from token_service.callers import Caller
from token_service.problems import HttpProblem
from voicesession.names import ROOM_PREFIX, USER_PREFIX, new_participant_identity, new_room_name
from voicesession.tickets import new_call_id

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# The version that is random, in 122 of its bits. Others tell a time, a machine, or a name.
_RANDOM_VERSION = 4
# What a key may be made of, and how many bits one character of it holds.
_ALPHABETS = (
    (re.compile(r"[0-9]+"), math.log2(10)),
    (re.compile(r"[0-9a-f]+|[0-9A-F]+"), math.log2(16)),
    (re.compile(r"[0-9a-z]+|[0-9A-Z]+"), math.log2(36)),
    (re.compile(r"[0-9A-Za-z+/]+"), math.log2(64)),
)
_SEPARATORS = re.compile(r"[-_.~=]")
_NEEDED_BITS = 128
_NEEDED_VARIETY = 8
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class CallNames:
    """A call's room, its customer's identity, and the id its starts are counted by."""

    room: str
    identity: str
    call_id: str


def choose_names(caller: Caller, idempotency_key: str | None, secret: str) -> CallNames:
    """Returns unguessable names: new ones, or the ones that belong to this caller's key.

    Raises:
        HttpProblem: 422, the key is none, or may be guessed by others.
    """
    if idempotency_key is None:
        return CallNames(new_room_name(), new_participant_identity(), new_call_id())
    _check_key(caller, idempotency_key)
    room, identity, call_id = (
        _derive(secret, use, caller.tenant, idempotency_key) for use in ("room", "identity", "call")
    )
    return CallNames(ROOM_PREFIX + _encode(room), USER_PREFIX + _encode(identity), call_id.hex())


def is_hard_to_guess(key: str) -> bool:
    """Tells whether a key can hold 128 random bits, or a UUID's 122. It cannot be told from its looks that it does."""
    if len(set(key)) < _NEEDED_VARIETY:
        return False
    if _UUID.fullmatch(key):
        return uuid.UUID(key).version == _RANDOM_VERSION
    bare = _SEPARATORS.sub("", key)
    bits = next((bits for alphabet, bits in _ALPHABETS if alphabet.fullmatch(bare)), 0.0)
    # In base64url, "-" and "_" are letters like others; in what has a smaller alphabet they only separate.
    letters = key.rstrip("=") if bits == _ALPHABETS[-1][1] else bare
    return bits * len(letters) >= _NEEDED_BITS


def _check_key(caller: Caller, key: str) -> None:
    if not _KEY.fullmatch(key):
        detail = "Idempotency-Key must be 1 to 255 printable ASCII characters without spaces."
        raise HttpProblem(422, "idempotency-key", "Unusable Idempotency-Key", detail)
    if caller.tenant is None and not is_hard_to_guess(key):
        detail = (
            "Nobody is asked for an API key here, so whoever guesses an Idempotency-Key gets its room. Send a random "
            "UUID (version 4), 22 random characters of base64url, or 32 random hexadecimal digits."
        )
        raise HttpProblem(422, "idempotency-key", "Guessable Idempotency-Key", detail)


def _derive(secret: str, use: str, tenant: str | None, key: str) -> bytes:
    own = hmac.new(secret.encode(), b"voice-agent/idempotency-key", hashlib.sha256).digest()
    # Neither a tenant nor a use has a line break, so no two callers' messages are the same.
    message = f"{use}\n{'' if tenant is None else tenant}\n{key}"
    return hmac.new(own, message.encode(), hashlib.sha256).digest()[:16]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
