"""The demo's port on localhost: a real socat holds it, and lets go of it when the cluster goes."""

import sys
from pathlib import Path

import pytest

from demo import __main__ as command
from local_cluster.ports import LOOPBACK, free_port, listens
from testing.forwarding import ForwardingError, start_forwarding
from testing.waiting import eventually_sync


def test_a_closed_demo_lets_go_of_its_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, target, pid_file = free_port(), f"{LOOPBACK}:{free_port()}", tmp_path / "pid"
    monkeypatch.setattr(command, "PID_FILE", pid_file)
    monkeypatch.setattr(sys, "argv", ["demo", "--close"])
    pid_file.write_text(str(start_forwarding(port, target)))
    with pytest.raises(ForwardingError, match=f"port {port} of this machine is in use"):
        start_forwarding(port, target)
    assert command.main() == 0
    assert not pid_file.exists()
    eventually_sync(lambda: not listens(port))
    assert command.main() == 0, "nothing to close is no error"
