"""Parts of loopback: who runs pods has addresses for them that nobody else on this machine has."""

import contextlib
import functools
import socket
from collections.abc import Iterator

from local_cluster.shares import take_share

_FIRST, _PARTS = 16, 200


@contextlib.contextmanager
def own_loopback() -> Iterator[str]:
    """Yields `127.N`: all addresses that begin so are nobody else's meanwhile.

    Raises:
        RuntimeError: all are taken.
    """
    prefix, holder = _take()
    with holder:
        yield prefix


def loopback_of_process() -> str:
    """Returns the `127.N` that this process has to its end."""
    prefix, _holder = _take_for_process()
    return prefix


def _take() -> tuple[str, socket.socket]:
    number, holder = take_share("loopback", _PARTS)
    return f"127.{_FIRST + number}", holder


_take_for_process = functools.cache(_take)
