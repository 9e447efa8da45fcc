"""Who answers at the agent pods' port: a simulator of all pods, at every address of loopback, or many of one each."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def pod_port(*, everywhere: bool) -> Iterator[None]:
    """Has the port meanwhile, at every address or at some; waits while another process has it the other way."""
    with Path(tempfile.gettempdir(), "voice-agent-pod-port.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if everywhere else fcntl.LOCK_SH)
        yield
