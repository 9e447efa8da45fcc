"""Shares of what this machine has once: each process that asks has one to itself, by a name that the kernel keeps."""

import errno
import socket


def take_share(of: str, count: int) -> tuple[int, socket.socket]:
    """Takes one of `count` shares; returns its number, and what holds it until it is closed or this process ends.

    Raises:
        RuntimeError: all are taken.
    """
    for number in range(count):
        if holder := _bind(f"\0voice-agent-{of}-{number}"):
            return number, holder
    raise RuntimeError(f"all {count} shares of {of} are taken")


def _bind(name: str) -> socket.socket | None:
    """Takes a name of no file's; returns None where somebody else has it."""
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(name)
    except OSError as error:
        holder.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return holder
