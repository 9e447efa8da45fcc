"""In which moment a call can change hands."""

import pytest

from voice_agent.endings import CallFacts
from voice_agent.quiet import TURN_SECONDS, is_quiet, until_quiet

NOW = 100.0


@pytest.mark.parametrize(
    ("facts", "quiet"),
    [
        (CallFacts(), True),
        (CallFacts(customer_speaks=True), False),
        (CallFacts(agent_busy=True), False),
        # They are done, and wait for the answer; a sound that was no word has none.
        (CallFacts(turn_open_since=NOW - TURN_SECONDS + 0.1), False),
        (CallFacts(turn_open_since=NOW - TURN_SECONDS), True),
    ],
)
def test_nobody_is_cut_off(facts: CallFacts, quiet: bool) -> None:
    assert is_quiet(facts, NOW) is quiet


async def test_who_has_no_session_yet_says_nothing() -> None:
    assert await until_quiet(None, CallFacts(customer_speaks=True), patience=0)
