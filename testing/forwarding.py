"""Makes a node's port answer on localhost, where browsers grant a page the microphone."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path


class ForwardingError(Exception):
    """The local port cannot be had; the message says what to do."""


def start_forwarding(local_port: int, target: str) -> int:
    """Forwards 127.0.0.1:`local_port` to `target` ("host:port") until it is ended; returns the process id.

    Raises:
        ForwardingError: the port is taken, or socat is missing.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", local_port))
        except OSError as error:
            raise ForwardingError(
                f"port {local_port} of this machine is in use; end what listens there (`ss -ltnp`) and try again"
            ) from error
    try:
        process = subprocess.Popen(
            ["socat", f"TCP-LISTEN:{local_port},bind=127.0.0.1,fork,reuseaddr,nodelay", f"TCP:{target},nodelay"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise ForwardingError("socat is missing; `make setup` installs it") from error
    _wait_until_listening(local_port)
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


def _wait_until_listening(port: int) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise ForwardingError(f"nothing listens on port {port} after 5 s")
