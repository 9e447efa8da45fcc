"""Free ports, and the shares they are of: what one has been given nobody else is."""

import os
import socket
from pathlib import Path

import pytest

from local_cluster.ports import LOOPBACK, free_port, listens
from local_cluster.shares import take_share

# What the kernel gives to whoever asks for any port: connections are made from these.
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_a_share_is_one_taker_s_until_it_is_left() -> None:
    ours = f"test-{os.getpid()}"  # the same test may run elsewhere on this machine
    (first, one), (second, other) = take_share(ours, 2), take_share(ours, 2)
    assert {first, second} == {0, 1}
    with pytest.raises(RuntimeError, match=f"all 2 shares of {ours}"):
        take_share(ours, 2)
    one.close()
    again, holder = take_share(ours, 2)
    assert again == first
    holder.close()
    other.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_can_be_listened_on_and_is_given_once(kind: socket.SocketKind) -> None:
    ports = [free_port(kind) for _ in range(10)]
    assert len(set(ports)) == len(ports)
    with socket.socket(type=kind) as listening:
        listening.bind((LOOPBACK, ports[0]))


def test_a_port_that_is_in_use_is_passed_over() -> None:
    given = free_port()
    with socket.socket() as taken:
        taken.bind((LOOPBACK, given))
        assert given not in {free_port() for _ in range(200)}, "all of a process's ports were gone through"


def test_no_connection_begins_at_a_port_that_was_given() -> None:
    assert free_port() < int(RANGE.read_text().split()[0])


def test_who_listens_is_seen() -> None:
    port = free_port()
    assert not listens(port)
    with socket.socket() as listening:
        listening.bind((LOOPBACK, port))
        listening.listen()
        assert listens(port)
