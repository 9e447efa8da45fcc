"""The key of the conversations' write tokens, in the form in which the database keeps it."""

import hashlib

BLOCK_BYTES = 64


def hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """Returns HMAC-SHA256's inner and outer pad (RFC 2104), so that Postgres needs no more than its own sha256()."""
    block = (hashlib.sha256(key).digest() if len(key) > BLOCK_BYTES else key).ljust(BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)
