"""In which moment a call can change hands."""

import asyncio
from typing import Any

import pytest

from voice_agent.endings import CallFacts
from voice_agent.quiet import TURN_SECONDS, is_quiet, may_have_words, until_quiet

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


class Session:
    """An agent session of which one task after the other is cancelled, as when the customer speaks on."""

    agent_state = "listening"

    def __init__(self, times: int) -> None:
        self.times = times

    async def wait_for_idle(self) -> None:
        self.times -= 1
        if self.times >= 0:
            cancelled = asyncio.ensure_future(asyncio.Event().wait())
            cancelled.cancel()
            await asyncio.shield(cancelled)


async def test_a_turn_that_goes_on_ends_no_wait() -> None:
    session: Any = Session(times=3)
    assert await until_quiet(session, CallFacts(), patience=20)
    assert session.times < 0


async def test_patience_ends_where_turns_go_on_for_ever_and_so_does_the_call() -> None:
    session: Any = Session(times=10**9)
    assert not await until_quiet(session, CallFacts(), patience=0.1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await until_quiet(session, CallFacts(), patience=60)


@pytest.mark.parametrize(
    ("facts", "may"),
    [
        (CallFacts(), False),
        (CallFacts(turn_open_since=NOW - TURN_SECONDS), False),
        (CallFacts(turn_open_since=NOW - TURN_SECONDS + 0.1), True),
        # Who leaves is waited for: what they were saying as they left is none the older for it.
        (CallFacts(turn_open_since=NOW - 60, customer_left_at=NOW - 58), True),
    ],
)
def test_only_what_the_customer_has_just_said_may_still_become_words(facts: CallFacts, may: bool) -> None:
    assert may_have_words(facts, NOW) is may


def test_who_leaves_in_mid_sentence_may_have_said_something() -> None:
    facts = CallFacts(customer_speaks=True)
    facts.customer_left(NOW, None)
    assert may_have_words(facts, NOW + 15)
