"""Ports of loopback: one that is free, and whether somebody listens."""

import socket

LOOPBACK = "127.0.0.1"


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Returns a port that nobody has, at any address: LiveKit's media ports are bound to all of them."""
    with socket.socket(type=kind) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Tells whether somebody takes TCP connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
