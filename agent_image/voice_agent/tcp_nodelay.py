"""Has LiveKit's library send its messages at once: else the customer is told of the agent 40 ms late.

The library leaves Nagle's algorithm on: a small message is held back until the one before it is acknowledged, and the
other side's kernel takes its 40 ms for that. So waited the news of the agent, its track, and its answers to offers.
"""

import contextlib
import os
import socket


def send_at_once() -> None:
    """Turns Nagle's algorithm off for every TCP connection that this process has; asyncio does so for its own."""
    for descriptor in os.listdir("/proc/self/fd"):
        # Most are no TCP sockets, and one may be closed meanwhile.
        with (
            contextlib.suppress(OSError),
            socket.fromfd(int(descriptor), socket.AF_INET, socket.SOCK_STREAM) as connection,
        ):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
