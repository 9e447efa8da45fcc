"""Makes a node's port answer on localhost, where browsers grant a page the microphone."""

import os
import signal
import socket
import subprocess
from pathlib import Path

from local_cluster.ports import LOOPBACK, listens
from testing.waiting import eventually_sync


class ForwardingError(Exception):
    """The local port cannot be had; the message says what to do."""


def start_forwarding(local_port: int, target: str) -> int:
    """Forwards 127.0.0.1:`local_port` to `target` ("host:port") until it is ended; returns the process id.

    Raises:
        ForwardingError: the port is taken, socat is missing, or it does not listen after 5 s.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, local_port))
        except OSError as error:
            raise ForwardingError(
                f"port {local_port} of this machine is in use; end what listens there (`ss -ltnp`) and try again"
            ) from error
    try:
        process = subprocess.Popen(
            ["socat", f"TCP-LISTEN:{local_port},bind={LOOPBACK},fork,reuseaddr,nodelay", f"TCP:{target},nodelay"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise ForwardingError("socat is missing; `make setup` installs it") from error
    try:
        eventually_sync(lambda: listens(local_port), 5)
    except TimeoutError as error:
        raise ForwardingError(f"nothing listens on port {local_port} after 5 s") from error
    return process.pid


def stop_forwarding(pid_file: Path) -> None:
    """Ends the forwarding that `pid_file` names, if that process still is one."""
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    command = Path(f"/proc/{pid}/cmdline")
    if command.exists() and command.read_bytes().startswith(b"socat\0"):
        os.kill(pid, signal.SIGTERM)
    pid_file.unlink()
