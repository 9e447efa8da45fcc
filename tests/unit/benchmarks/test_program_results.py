"""How the results of trying programs are kept and told."""

from dataclasses import replace
from pathlib import Path

from benchmarks.program_results import (
    ANSWERS,
    KEPT,
    NO_PACKAGE,
    STARTS,
    Tried,
    build_tables,
    keep,
    read_results,
)
from local_cluster.layout import REPOSITORY

PAGE = (REPOSITORY / "docs/compatibility.md").read_text()
ONE = Tried("a.py", ANSWERS, needs=["avatar", "video"], repository="acme/examples", commit="c0ffee")
TWO = Tried("b.py", NO_PACKAGE, "no `a` | b", needs=["video"], repository="acme/examples", commit="c0ffee")


def test_a_newer_result_takes_the_older_one_s_place(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    for one in (TWO, replace(ONE, result=STARTS), ONE):
        keep(file, one)
    assert read_results(file) == [ONE, TWO]


def test_the_tables_count_and_name() -> None:
    text = build_tables([TWO, ONE])
    assert "| answers | 1 |" in text
    assert "| all | 2 |  |" in text
    assert "| video | 2 | 1 |\n| avatar | 1 | 1 |" in text
    assert "| LiveKit Inference, and nobody else | 0 | 0 |" in text
    assert "**acme/examples**, commit c0ffee:" in text
    assert text.endswith("| a.py | answers | avatar, video |  |\n| b.py | wants a package | video | no 'a' / b |")


def test_who_needs_livekit_s_models_alone_is_counted() -> None:
    needs = [["LiveKit Inference", "end hook"], ["LiveKit Inference", "avatar"], []]
    text = build_tables([replace(ONE, program=str(number), needs=each) for number, each in enumerate(needs)])
    assert "| LiveKit Inference, and nobody else | 1 | 1 |" in text


def test_the_page_tells_the_results_that_are_kept() -> None:
    assert build_tables(read_results(KEPT)) in PAGE, "paste what `python -m benchmarks.programs --page` prints"


def test_the_page_says_of_each_that_does_not_run_why() -> None:
    (_, reasons) = PAGE.split("## What does not run, and why")
    untold = [one.program for one in read_results(KEPT) if not one.runs and one.program not in reasons]
    assert untold == []
