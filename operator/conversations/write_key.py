"""The key of the conversations' write tokens, in the form in which the database keeps it."""

import hashlib
from pathlib import Path

BLOCK_BYTES = 64
MINIMUM_BYTES = 32


class ConversationKeyError(Exception):
    """The key file holds no usable key; the message says what to do."""


def load_conversation_key(path: Path) -> bytes:
    """Returns the key in the file, without white space around it.

    Raises:
        ConversationKeyError: the file cannot be read, or holds fewer than 32 bytes.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConversationKeyError(f"cannot read the conversation key: {error}") from error
    if len(key) < MINIMUM_BYTES:
        raise ConversationKeyError(
            f"the conversation key in {path} has {len(key)} bytes, but needs {MINIMUM_BYTES}; "
            "make one with `openssl rand -hex 32`"
        )
    return key


def hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """Returns HMAC-SHA256's inner and outer pad (RFC 2104), so that Postgres needs no more than its own sha256()."""
    block = (hashlib.sha256(key).digest() if len(key) > BLOCK_BYTES else key).ljust(BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)
