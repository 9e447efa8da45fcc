"""A golden file holds what is built to what was written down, and only people write it anew."""

from pathlib import Path

import pytest
import yaml

from testing.golden import UPDATE_VARIABLE, check_golden, dump

CASE = "kind/case"


def double(given: dict[str, int]) -> dict[str, int]:
    return {key: 2 * value for key, value in given.items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an input, seen by somebody who works on it and has asked for nothing."""
    monkeypatch.delenv(UPDATE_VARIABLE, raising=False)
    monkeypatch.delenv("CI", raising=False)
    (tmp_path / CASE).mkdir(parents=True)
    (tmp_path / CASE / "input.yaml").write_text("{a: 1}")
    return tmp_path


def test_what_differs_or_is_missing_fails(folder: Path) -> None:
    with pytest.raises(AssertionError, match="is missing: `make golden` writes it"):
        check_golden(CASE, double, folder)
    (folder / CASE / "output.yaml").write_text("{a: 3}")
    with pytest.raises(AssertionError, match="writes it anew"):
        check_golden(CASE, double, folder)


def test_it_is_written_anew_where_somebody_asks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UPDATE_VARIABLE, "1")
    check_golden(CASE, double, folder)
    monkeypatch.delenv(UPDATE_VARIABLE)
    check_golden(CASE, double, folder)
    assert (folder / CASE / "output.yaml").read_text() == "a: 2\n"


def test_ci_never_writes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UPDATE_VARIABLE, "1")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AssertionError, match="not for CI"):
        check_golden(CASE, double, folder)
    assert not (folder / CASE / "output.yaml").exists()


def test_what_is_read_is_what_was_built() -> None:
    shared = {"time": "2026-01-01T12:00:00Z", "lines": "one\ntwo\n", "port": "0080"}
    made = {"z": shared, "a": [shared, None]}
    assert yaml.safe_load(dump(made)) == made
    assert dump(made).startswith("z:\n")
    assert "one\n" in dump(made)
    assert "&" not in dump(made)
