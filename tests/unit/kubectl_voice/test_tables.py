"""Tables: who waits comes first, a column that has nothing is left out, ages are kubectl's."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from kubectl_voice.output import build_table
from kubectl_voice.tables import age_of, call_rows, pool_rows, transcript_rows
from testing.operator_objects import NOW, ago, finished_conditions, joined_conditions, make_pool, make_session
from tests.unit.kubectl_voice.test_findings import TALKED
from voicesession.conditions import ConditionType, Reason, with_condition
from voicesession.live_calls import LiveCall
from voicesession.models import AgentPoolStatus, Phase


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172800, "2d")]
)
def test_an_age_is_written_as_kubectl_does(seconds: int, words: str) -> None:
    assert age_of(ago(seconds), NOW) == words


def test_calls_that_wait_come_first_and_those_that_are_over_are_left_out() -> None:
    bound = with_condition([], ConditionType.POD_BOUND, "False", Reason.NO_CAPACITY, "", ago(3))
    sessions = [
        make_session("talks", conditions=joined_conditions(), status_phase=Phase.ACTIVE, status_pod_name="pod-a"),
        make_session("over", conditions=finished_conditions(), status_phase=Phase.ENDED),
        make_session("waits", conditions=bound, status_phase=Phase.PENDING),
    ]
    rows = call_rows(sessions, NOW, {"pod-a": 108 * 2**20}, {})
    assert [(row["NAME"], row["WHY"], row["MEMORY"]) for row in rows] == [
        ("waits", "NoCapacity", None),
        ("talks", None, "108Mi"),
    ]


def test_a_call_has_its_last_answer_and_the_median_of_those_that_its_operator_remembers() -> None:
    sessions = [make_session(name, conditions=joined_conditions(), status_phase=Phase.ACTIVE) for name in ("a", "b")]
    told = LiveCall(name="b", agent_state="speaking", memory_bytes=90 * 2**20, answers_millis=[700, 3000, 900])
    known = ("AGENT", "LAST-MS", "MEDIAN-MS", "MEMORY")
    unknown, row = call_rows(sessions, NOW, {}, {"b": told})
    assert [row[name] for name in known] == ["speaking", 900, 900, "90Mi"]
    assert [unknown[name] for name in known] == [None] * 4


def test_a_busy_calls_line_fits_on_a_terminal_and_pod_and_node_are_for_who_asks() -> None:
    calls = [
        make_session(
            f"vs-0123456789abcde{number}",
            conditions=joined_conditions(),
            status_phase=Phase.ACTIVE,
            status_pod_name="receptionist-x7k2p",
            status_node_name="ip-10-0-12-113.eu-west-1",
            profile="receptionist-eu",
            tenant="acme",
            status_agent_joined_at=ago(3000),
        )
        for number in range(2)
    ]
    told = LiveCall(name="vs-0123456789abcde0", agent_state="listening", memory_bytes=10**8, answers_millis=[12345])
    rows = call_rows(calls, NOW, {}, {told.name: told})
    header, first, second = print_lines(build_table(rows))
    assert "POD" not in header
    assert max(len(line) for line in (header, first, second)) <= 120
    assert first.split()[-1] == "95Mi"
    assert second.split()[-1] == "-"
    assert "NODE" in print_lines(build_table(rows, wide=True), 200)[0]


def print_lines(table: Table, width: int = 120) -> list[str]:
    """Returns the lines of a table on a terminal of this width."""
    page = io.StringIO()
    Console(file=page, width=width).print(table)
    return [line.rstrip() for line in page.getvalue().splitlines()]


def test_a_pool_that_is_short_says_why() -> None:
    ready = with_condition([], ConditionType.READY, "False", Reason.QUOTA_EXCEEDED, "exceeded quota: q", ago(3))
    pool = make_pool().model_copy(update={"status": AgentPoolStatus(ready=1, waiting=2, conditions=ready)})
    [row] = pool_rows([pool])
    assert (row["READY"], row["WAITING"], row["REASON"], row["MESSAGE"]) == (1, 2, "QuotaExceeded", "exceeded quota: q")


def test_a_column_without_anything_is_left_out_and_a_table_is_120_columns_wide_at_most() -> None:
    header, *lines = print_lines(build_table(transcript_rows(TALKED)))
    assert header.split() == ["TIME", "WHO", "WORDS"]
    assert [line.split()[1:] for line in lines] == [["customer", "secret", "words"], ["agent", "secret", "words"]]


def test_brackets_in_what_was_said_are_no_markup() -> None:
    said = TALKED[0].model_copy(update={"content": "[red]stop[/red] [1]"})
    assert "[red]stop[/red] [1]" in print_lines(build_table(transcript_rows([said])))[1]
