"""Parts of loopback: who runs pods has addresses for them that nobody else on this machine has."""

import contextlib
import errno
import functools
import socket
from collections.abc import Iterator

_NUMBERS = range(16, 224)


@contextlib.contextmanager
def own_loopback() -> Iterator[str]:
    """Yields `127.N`: all addresses that begin so are nobody else's meanwhile.

    Raises:
        RuntimeError: all are taken.
    """
    name, prefix = _take_one()
    with name:
        yield prefix


@functools.cache
def loopback_of_process() -> str:
    """Returns the `127.N` that this process has to its end."""
    name, prefix = _take_one()
    _held.append(name)
    return prefix


_held: list[socket.socket] = []


def _take_one() -> tuple[socket.socket, str]:
    for number in _NUMBERS:
        if name := _take(f"\0voice-agent-pods-{number}"):
            return name, f"127.{number}"
    raise RuntimeError("every part of loopback is taken")


def _take(name: str) -> socket.socket | None:
    """Takes a name that the kernel keeps, not a disk: it is free again when its socket is closed, or its process ends.

    Returns None where somebody else has it.
    """
    taken = socket.socket(socket.AF_UNIX)
    try:
        taken.bind(name)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return taken
