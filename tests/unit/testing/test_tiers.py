"""A test without a tier, or with a wrong one, stops the run; pytest runs here on folders of a few lines."""

import socket
import subprocess

import pytest

TEST = "def test_something(): pass\n"
MARKED = "import pytest\n@pytest.mark.unit\n" + TEST


def run(pytester: pytest.Pytester, module: str, text: str, *options: str) -> pytest.RunResult:
    pytester.makeconftest('pytest_plugins = ["testing.tiers"]')
    path = pytester.path / "tests" / module
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return pytester.runpytest_inprocess("--strict-markers", "-p", "no:asyncio", "tests", *options)


def test_the_folder_is_the_tier(pytester: pytest.Pytester) -> None:
    run(pytester, "part/deep/test_it.py", TEST, "-m", "part").assert_outcomes(passed=1)


def test_another_tier_was_asked_for(pytester: pytest.Pytester) -> None:
    run(pytester, "part/test_it.py", TEST, "-m", "unit").assert_outcomes(deselected=1)


@pytest.mark.parametrize(
    ("module", "text", "why"),
    [
        ("test_it.py", TEST, "stands in no tier's folder"),
        ("integration/test_it.py", TEST, "stands in no tier's folder"),
        ("part/test_it.py", MARKED, "names a tier: its folder does"),
        ("unit/test_it.py", MARKED, "names a tier: its folder does"),
    ],
)
def test_a_wrong_place_or_a_mark_stops_the_run(pytester: pytest.Pytester, module: str, text: str, why: str) -> None:
    result = run(pytester, module, text)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: tests/{module}::test_something {why}*"])


def test_a_unit_test_reaches_nothing_outside_its_process() -> None:
    with pytest.raises(AssertionError, match=r"subprocess\.Popen"):
        subprocess.run(["true"], check=True)
    with socket.socket() as connection, pytest.raises(AssertionError, match=r"socket\.connect"):
        connection.connect(("192.0.2.1", 80))
