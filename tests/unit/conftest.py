"""A unit test has nothing outside its process: one that starts a program or connects to another machine fails."""

import sys
from collections.abc import Iterator
from typing import Any

import grimp
import pytest

from testing.own_packages import PACKAGES

PROGRAMS = {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.system"}


class Watch:
    """Sees what the process does while it is `on`: an audit hook, which can never be taken away again."""

    def __init__(self) -> None:
        """Is off at first."""
        self.on = False
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and (event in PROGRAMS or (event == "socket.connect" and _is_outside(arguments[1]))):
            raise AssertionError(f"a unit test reaches out of its process: {event} {arguments}")


def _is_outside(address: tuple[Any, ...] | str) -> bool:
    """Tells whether this is more than a test's own server: an address, or the path of a socket, of something else."""
    return isinstance(address, str) or not str(address[0]).startswith(("127.", "::1", "localhost"))


WATCH = Watch()


@pytest.fixture(autouse=True)
def _inside() -> Iterator[None]:
    """Lets nothing out while a test runs."""
    WATCH.on = True
    yield
    WATCH.on = False


@pytest.fixture(scope="session")
def imports() -> grimp.ImportGraph:
    """Who of ours imports whom."""
    return grimp.build_graph(*PACKAGES)
