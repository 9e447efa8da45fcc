"""How far public programs came, kept a line each, and told as a page's tables."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.program_needs import END_HOOK, INFERENCE, RPC
from local_cluster.layout import REPOSITORY

KEPT = REPOSITORY / "benchmarks/results/programs.jsonl"

ANSWERS, WORDS, HEARS, STARTS = "answers", "answers in words", "hears", "starts"
JOINS, FAILS, NO_PACKAGE, NO_LOAD = "joins", "fails", "wants a package", "does not load"
# What each result means, the furthest first.
MEANINGS = {
    ANSWERS: "its agent answered the question, in words and aloud",
    WORDS: "its agent answered in words; its voice is that of a vendor who is away",
    HEARS: "its session runs; it transcribes or echoes what is said, and answers nothing by itself",
    STARTS: "its agent session started and gave no answer",
    JOINS: "it came into the room and started no agent session",
    FAILS: "its entrypoint failed",
    NO_PACKAGE: "a package that it imports is not there",
    NO_LOAD: "it cannot be imported, or has no entrypoint at its top",
}
_RUNS = (ANSWERS, WORDS, HEARS)
# LiveKit's models, and what a pod and a page have for everybody.
_ALONE = frozenset({INFERENCE, END_HOOK, RPC})


@dataclass(frozen=True)
class Tried:
    """How far one program came, and in one line what stopped it. `needs`: what it asks for beside a call."""

    program: str
    result: str
    detail: str = ""
    needs: Sequence[str] = field(default=())
    repository: str = ""
    commit: str = ""

    @property
    def runs(self) -> bool:
        """Whether it does in a pod what it is for."""
        return self.result in _RUNS


def read_results(file: Path) -> list[Tried]:
    """Returns the results that a file keeps."""
    return [Tried(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def keep(file: Path, one: Tried) -> None:
    """Writes a result into the file, in place of an older one of the same program."""
    others = [each for each in read_results(file) if (each.repository, each.program) != (one.repository, one.program)]
    kept = sorted([*others, one], key=lambda each: (each.repository, each.program))
    file.write_text("".join(f"{json.dumps(asdict(each))}\n" for each in kept))


def build_tables(tried: Sequence[Tried]) -> str:
    """Returns the results as Markdown: how many came how far, what they need, and each program."""
    return "\n\n".join([_build_totals(tried), _build_needs(tried), *_build_programs(tried)])


def _build_totals(tried: Sequence[Tried]) -> str:
    counts = Counter(one.result for one in tried)
    rows = [(result, counts[result], meaning) for result, meaning in MEANINGS.items() if counts[result]]
    return _build_table(("result", "programs", "is"), [*rows, ("all", len(tried), "")])


def _build_needs(tried: Sequence[Tried]) -> str:
    needed = Counter(need for one in tried for need in one.needs)
    running = Counter(need for one in tried if one.runs for need in one.needs)
    rows = [(need, count, running[need]) for need, count in sorted(needed.items(), key=lambda item: (-item[1], item))]
    alone = [one for one in tried if INFERENCE in one.needs and _ALONE.issuperset(one.needs)]
    rows.append(("LiveKit Inference, and nobody else", len(alone), sum(one.runs for one in alone)))
    return _build_table(("what programs need", "programs", "of them run"), rows)


def _build_programs(tried: Sequence[Tried]) -> Iterable[str]:
    order = list(MEANINGS)
    for repository, commit in sorted({(one.repository, one.commit) for one in tried}):
        yield f"**{repository}**, commit {commit}:"
        own = [one for one in tried if (one.repository, one.commit) == (repository, commit)]
        rows = [
            (one.program, one.result, ", ".join(one.needs), one.detail)
            for one in sorted(own, key=lambda one: (order.index(one.result), one.program))
        ]
        yield _build_table(("program", "result", "needs", "what stopped it"), rows)


def _build_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_clean(cell) for cell in line)} |" for line in lines)


def _clean(cell: object) -> str:
    return str(cell).replace("|", "/").replace("\n", " ").replace("`", "'")
