"""Real programs: what they say when they fail, and that with one all goes that it started."""

import threading
from pathlib import Path

import pytest

from local_cluster import commands
from local_cluster.errors import ClusterError
from local_cluster.plan import Step, run_all
from testing.waiting import eventually_sync


def test_a_failure_tells_the_programs_last_words() -> None:
    with pytest.raises(ClusterError, match=r"`sh -c echo why >&2; exit 3` failed:\nwhy"):
        commands.run("sh", "-c", "echo why >&2; exit 3")
    assert commands.run("cat", stdin="x") == "x"
    assert commands.succeeds("true")
    assert not commands.succeeds("false")
    assert not commands.succeeds("no-such-program")


def test_one_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    with pytest.raises(ClusterError, match="was still running after 1 s"):
        commands.run("sh", "-c", f"sleep 600 & echo $! > {child}; wait", timeout=1)
    _wait_until_gone(child)


def test_when_one_step_fails_the_programs_of_the_others_end(tmp_path: Path) -> None:
    child, begun = tmp_path / "child", threading.Event()

    def fail() -> None:
        eventually_sync(lambda: child.exists() and bool(child.read_text()), 30)
        begun.set()
        raise ClusterError("no")

    def work_for_long() -> None:
        commands.run("sh", "-c", f"sleep 600 & echo $! > {child}; wait", timeout=600)

    with pytest.raises(ClusterError, match=r"^first: no$"):
        run_all([Step("first", fail), Step("second", work_for_long)])
    assert begun.is_set()
    _wait_until_gone(child)


def _wait_until_gone(child: Path) -> None:
    status = Path(f"/proc/{child.read_text().strip()}/status")
    eventually_sync(lambda: not status.exists() or "\nState:\tZ" in status.read_text(), 30)
