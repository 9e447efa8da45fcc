"""Ports of loopback: one that is free and stays so until its program listens, and whether somebody listens."""

import functools
import itertools
import socket
from collections.abc import Iterator

from local_cluster.shares import take_share

LOOPBACK = "127.0.0.1"
LOOPBACK_6 = "::1"

# Below those that the kernel gives to whoever asks for any, and clear of Kubernetes' own.
_FIRST, _SHARE, _SHARES = 12_000, 100, 100


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Returns a port that nobody has, at any address: LiveKit's media ports are bound to all of them.

    It is of this process's share: another process gets others, and this one gets it again after all the rest.

    Raises:
        RuntimeError: there is none.
    """
    ports, _holder = _own_share()
    for _ in range(_SHARE):
        port = next(ports)
        with socket.socket(type=kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"all of the {_SHARE} ports of this process are in use")


def listens(port: int, address: str = LOOPBACK) -> bool:
    """Tells whether somebody takes TCP connections there."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        return probe.connect_ex((address, port)) == 0


def at(address: str, port: int) -> str:
    """Returns them as a URL has them: an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@functools.cache
def _own_share() -> tuple[Iterator[int], socket.socket]:
    """Returns this process's ports, one after the other without end, and what holds them."""
    number, holder = take_share("ports", _SHARES)
    first = _FIRST + number * _SHARE
    return itertools.cycle(range(first, first + _SHARE)), holder
