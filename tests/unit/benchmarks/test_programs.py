"""What counts as an answer of a public program's agent."""

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.programs import QUESTION, Asked
from testing.agent_pod import Follower
from testing.customer import Heard, HeardFrame, Transcribed
from testing.fake_openai import FakeOpenAI, RealtimeConversation
from testing.sound import AUDIBLE_RMS

CHAT = {"chats": [{"messages": [{"role": "user", "content": QUESTION}]}]}
REALTIME = {"realtime_events": [{"type": "conversation.item.create", "text": QUESTION}]}
OTHER_CHAT = {"chats": [{"messages": [{"role": "system", "content": "greet"}]}]}


def ask(fake: dict[str, Any], text: str = "", who: str = "agent", at: float = 2.0, *, loud: bool = False) -> Asked:
    """Returns the question of second 1, and what came after it."""
    transcripts = [Transcribed(who, text, at)] if text else []
    frames = [HeardFrame(at, AUDIBLE_RMS)] if loud else []
    customer: Any = SimpleNamespace(heard=Heard(frames=frames, transcripts=transcripts))
    return Asked(customer, Follower(), FakeOpenAI(**fake), at=1.0)


@pytest.mark.parametrize(
    ("asked", "is_answered"),
    [
        (ask(CHAT, f"You said: {QUESTION}."), True),
        (ask(REALTIME, RealtimeConversation.ANSWER), True),
        (ask(CHAT, "Hello, I am Kelly."), False),
        (ask(CHAT, f"You said: {QUESTION}.", at=0.5), False),
        (ask(CHAT, QUESTION, who="customer"), False),
        (ask(CHAT, loud=True), False),
        (ask(OTHER_CHAT, QUESTION), False),
    ],
)
def test_an_answer_has_the_question_in_it(asked: Asked, is_answered: bool) -> None:
    assert asked.is_answered is is_answered


@pytest.mark.parametrize(
    ("asked", "is_heard"),
    [
        (ask({}, QUESTION, who="customer"), True),
        (ask({}, loud=True), True),
        (ask({"spoken": ["Hello."]}, loud=True), False),
        (ask(OTHER_CHAT, QUESTION, who="customer", loud=True), False),
        (ask({}), False),
    ],
)
def test_what_comes_back_without_a_model_is_heard(asked: Asked, is_heard: bool) -> None:
    assert asked.is_heard is is_heard
