"""Keys that parts share as files: HMAC keys, of which every byte counts."""

from pathlib import Path

MINIMUM_BYTES = 32


class KeyFileError(Exception):
    """The file holds no usable key; the message says what to do."""


def load_key(path: Path) -> bytes:
    """Returns the key in the file, without white space around it.

    Raises:
        KeyFileError: the file cannot be read, or holds fewer than 32 bytes.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise KeyFileError(f"cannot read the key: {error}") from error
    if len(key) < MINIMUM_BYTES:
        raise KeyFileError(
            f"the key in {path} has {len(key)} bytes, but needs {MINIMUM_BYTES}; make one with `openssl rand -hex 32`"
        )
    return key
