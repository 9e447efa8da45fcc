"""What the one who waits reads: whole lines, also when several steps run at once."""

import contextlib
import io
import sys
import threading

import pytest

from local_cluster.errors import ClusterError, StoppedError
from local_cluster.progress import describe_running, describe_seconds, say, step


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.44, "9.4 s"), (9.6, "10 s"), (119.4, "119 s"), (325.2, "5 min 25 s")]
)
def test_seconds_are_told_as_people_do(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text


def test_what_runs_fits_on_one_line() -> None:
    running = [("building kube (once)", 130.0), ("image agent", 4.2)]
    assert describe_running(running, 200) == "  … building kube 2 min 10 s | image agent 4.2 s"
    assert describe_running(running, 20) == "  … building kube 2…"


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "done in"), (ClusterError("x"), "failed after"), (StoppedError("x"), "stopped after")]
)
def test_a_step_says_how_it_ended(error: Exception | None, outcome: str, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(ClusterError), step("the page"):
        if error is not None:
            raise error
    begun, ended = capsys.readouterr().out.splitlines()
    assert begun == "  the page …"
    assert ended.startswith(f"  the page: {outcome} 0.")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_only_the_last_line_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps at once and a word between them: what stays is a line for each, and nothing is cut through."""
    monkeypatch.setattr(sys, "stdout", terminal := _Terminal())
    inner_done = threading.Event()

    def other() -> None:
        with step("image agent"):
            say("a word")
        inner_done.set()

    with step("building kube"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert inner_done.is_set()
    lines = [line.rsplit("\r\x1b[K", 1)[-1] for line in terminal.getvalue().split("\n")]
    assert [line.split(" in 0.")[0] for line in lines] == ["a word", "  image agent: done", "  building kube: done", ""]
