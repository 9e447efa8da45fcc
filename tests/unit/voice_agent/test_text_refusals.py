"""Whoever types what is not read is told so: as a page and as a plain client would show it."""

import json
from typing import Any, cast

from testing.tasks import Tasks
from testing.waiting import eventually
from voice_agent.text_budget import TextRefusal
from voice_agent.text_refusals import PAUSE_SECONDS, TextRefusals
from voicesession.names import DATA_TOPIC


class Agent:
    def __init__(self) -> None:
        self.data: list[tuple[dict[str, Any], list[str], str]] = []
        self.texts: list[tuple[str, list[str], str]] = []

    async def publish_data(self, body: str, *, reliable: bool, destination_identities: list[str], topic: str) -> None:
        assert reliable
        self.data.append((json.loads(body), destination_identities, topic))

    async def send_text(self, text: str, *, destination_identities: list[str], topic: str) -> None:
        self.texts.append((text, destination_identities, topic))


async def test_a_flood_is_told_of_now_and_then_and_to_its_sender_alone() -> None:
    agent, tasks, now = Agent(), Tasks(), 0.0
    refusals = TextRefusals(tasks.start, now=lambda: now)
    room = cast("Any", type("Room", (), {"local_participant": agent}))
    for _ in range(3):
        refusals.tell(room, "ada", TextRefusal.TOO_LONG, "It is too long.")
    refusals.tell(room, "eve", TextRefusal.TOO_OFTEN, "Wait.")
    await eventually(lambda: len(agent.texts) == 2)
    now = PAUSE_SECONDS
    refusals.tell(room, "ada", TextRefusal.TOO_MUCH, "No more.")
    await eventually(lambda: len(agent.texts) == 3)
    assert agent.texts == [
        ("It is too long.", ["ada"], "lk.chat"),
        ("Wait.", ["eve"], "lk.chat"),
        ("No more.", ["ada"], "lk.chat"),
    ]
    assert agent.data[0] == (
        {"type": "text-refused", "reason": "too-long", "message": "It is too long."},
        ["ada"],
        DATA_TOPIC,
    )
