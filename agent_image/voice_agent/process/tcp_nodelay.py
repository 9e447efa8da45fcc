"""Has LiveKit's library send its messages at once: else the customer is told of the agent 40 ms late.

The library leaves Nagle's algorithm on: a small message is held back until the one before it is acknowledged, and the
other side's kernel takes its 40 ms for that. So waited the news of the agent, its track, and its answers to offers.
"""

import contextlib
import os
import socket
import stat


def send_at_once() -> None:
    """Turns Nagle's algorithm off for every TCP connection that this process has; asyncio does so for its own."""
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # one may be closed meanwhile
            _send_at_once(int(descriptor))


def _send_at_once(descriptor: int) -> None:
    # Of what is no socket, Python would keep the copy.
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        if connection.type == socket.SOCK_STREAM and connection.family in {socket.AF_INET, socket.AF_INET6}:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
