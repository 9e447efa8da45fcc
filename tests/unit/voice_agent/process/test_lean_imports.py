"""A package that is put off is loaded once, by whoever looks first, and whole for all who look meanwhile."""

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from voice_agent.process import lean_imports

SLOW = """
import time
__version__ = "7"
LOADED = globals().get("LOADED", 0) + 1
time.sleep(0.05)
if hasattr(__import__(__name__), "later"):
    raise AssertionError("there before it was made")
later = "there"
"""


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package whose code takes a while, put off."""
    (tmp_path / "slow_package.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lean_imports, "DEFERRED", frozenset({"slow_package"}))
    monkeypatch.setattr(sys, "meta_path", [lean_imports._DeferringFinder, *sys.meta_path])
    yield importlib.import_module("slow_package")
    sys.modules.pop("slow_package", None)


def test_threads_that_look_at_once_all_find_it_whole(slow: ModuleType) -> None:
    assert lean_imports.is_deferred("slow_package")
    begin, found = threading.Barrier(8), []

    def look() -> None:
        begin.wait()
        found.append(slow.later)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["there"] * 8
    assert slow.LOADED == 1
    assert not lean_imports.is_deferred("slow_package")


def test_its_version_is_its_own(slow: ModuleType) -> None:
    assert slow.__version__ == "7"


def test_what_python_itself_looks_at_loads_nothing(slow: ModuleType) -> None:
    assert not hasattr(slow, "__wrapped__")
    assert lean_imports.is_deferred("slow_package")


def test_what_it_does_not_have_is_said_as_ever(slow: ModuleType) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = slow.nothing
    assert slow.later == "there"
