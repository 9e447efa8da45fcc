"""Tables: who waits comes first, a column that has nothing is left out, ages are kubectl's."""

import io

import pytest
from rich.console import Console

from kubectl_voice.output import build_table
from kubectl_voice.tables import age_of, call_rows, pool_rows, transcript_rows
from testing.operator_objects import NOW, ago, finished_conditions, joined_conditions, make_pool, make_session
from tests.unit.kubectl_voice.test_findings import TALKED
from voicesession.conditions import ConditionType, Reason, with_condition
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
    rows = call_rows(sessions, NOW, {"pod-a": 108 * 2**20})
    assert [(row["NAME"], row["WHY"], row["MEMORY"]) for row in rows] == [
        ("waits", "NoCapacity", None),
        ("talks", None, "108Mi"),
    ]


def test_a_pool_that_is_short_says_why() -> None:
    ready = with_condition([], ConditionType.READY, "False", Reason.QUOTA_EXCEEDED, "exceeded quota: q", ago(3))
    pool = make_pool().model_copy(update={"status": AgentPoolStatus(ready=1, waiting=2, conditions=ready)})
    [row] = pool_rows([pool])
    assert (row["READY"], row["WAITING"], row["REASON"], row["MESSAGE"]) == (1, 2, "QuotaExceeded", "exceeded quota: q")


def test_a_column_without_anything_is_left_out_and_a_table_is_120_columns_wide_at_most() -> None:
    page = io.StringIO()
    Console(file=page, width=120).print(build_table(transcript_rows(TALKED)))
    header, *lines = page.getvalue().splitlines()
    assert header.split() == ["TIME", "WHO", "WORDS"]
    assert [line.split()[1:] for line in lines] == [["customer", "secret", "words"], ["agent", "secret", "words"]]


def test_brackets_in_what_was_said_are_no_markup() -> None:
    page = io.StringIO()
    said = TALKED[0].model_copy(update={"content": "[red]stop[/red] [1]"})
    Console(file=page, width=120).print(build_table(transcript_rows([said])))
    assert "[red]stop[/red] [1]" in page.getvalue()
