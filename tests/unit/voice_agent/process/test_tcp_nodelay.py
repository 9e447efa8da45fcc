"""Every TCP connection of the process sends at once, and looking for them leaves nothing open."""

import os
import socket

from voice_agent.process.tcp_nodelay import send_at_once


def test_connections_send_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        send_at_once()
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_nothing_stays_open() -> None:
    reading, writing = os.pipe()
    datagram = socket.socket(type=socket.SOCK_DGRAM)
    before = len(os.listdir("/proc/self/fd"))
    send_at_once()
    assert len(os.listdir("/proc/self/fd")) == before
    datagram.close()
    os.close(reading)
    os.close(writing)
