"""What phase the conditions of a VoiceSession amount to."""

from datetime import UTC, datetime

import pytest

from voicesession.conditions import ConditionType, Reason, derive_phase, with_condition
from voicesession.models import Condition, Phase

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def having(*told: tuple[ConditionType, bool, Reason]) -> list[Condition]:
    conditions: list[Condition] = []
    for kind, is_true, reason in told:
        conditions = with_condition(conditions, kind, "True" if is_true else "False", reason, "", NOW)
    return conditions


WAITING = having((ConditionType.POD_BOUND, False, Reason.WAITING_FOR_POD))
BOUND = having((ConditionType.POD_BOUND, True, Reason.BOUND), (ConditionType.AGENT_JOINED, False, Reason.JOINING))
JOINED = having((ConditionType.POD_BOUND, True, Reason.BOUND), (ConditionType.AGENT_JOINED, True, Reason.JOINED))
ENDED = [*JOINED, *having((ConditionType.FINISHED, True, Reason.CALL_ENDED))]
CRASHED = [*JOINED, *having((ConditionType.FINISHED, True, Reason.AGENT_CRASHED))]


@pytest.mark.parametrize(
    ("conditions", "joined_before", "starting_slowly", "phase"),
    [
        ([], False, False, Phase.PENDING),
        (WAITING, False, False, Phase.PENDING),
        (WAITING, False, True, Phase.PENDING),
        (BOUND, False, False, Phase.PENDING),
        (BOUND, False, True, Phase.STARTING),
        (WAITING, True, False, Phase.RECOVERING),
        (BOUND, True, False, Phase.RECOVERING),
        (BOUND, True, True, Phase.RECOVERING),
        (JOINED, False, False, Phase.ACTIVE),
        (JOINED, True, False, Phase.ACTIVE),
        (ENDED, True, False, Phase.ENDED),
        (CRASHED, True, False, Phase.FAILED),
    ],
)
def test_the_phase(conditions: list[Condition], joined_before: bool, starting_slowly: bool, phase: Phase) -> None:
    assert derive_phase(conditions, joined_before, starting_slowly) is phase
