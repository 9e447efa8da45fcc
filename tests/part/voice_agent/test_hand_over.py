"""A call that goes from one pod to another while its customer is in it: two pods' processes and a real LiveKit."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testing.agent_pod import AgentPod, Follower, build_assignment, build_provider, running_pod
from testing.conversations import ConversationsDatabase
from testing.customer import Customer, joined_room
from testing.fake_openai import FakeOpenAI
from testing.livekit import LiveKitServer, new_room
from testing.local_speech import speech_pcm
from testing.waiting import stays
from voice_agent.hand_over import SUCCESSOR_SECONDS
from voicesession.assignment import (
    Assignment,
    CallEnded,
    HandedOver,
    HeardLate,
    Joined,
    Ready,
    Resumed,
    TakeOver,
    conversation_write_token,
)
from voicesession.models import AgentProfileSpec, EndReason

GREETING = "Hello there."
LONG = "one two three four five six seven eight nine ten " * 4


@dataclass
class Handed:
    """A call in progress in one pod, and another one that stands by for it."""

    livekit: LiveKitServer
    fake: FakeOpenAI
    old: AgentPod
    new: AgentPod
    customer: Customer
    old_story: Follower
    new_story: Follower
    room: str

    async def take_over(self) -> None:
        """What the operator does when the old one has handed over."""
        handed = await self.old_story.wait_for(HandedOver)
        token = self.livekit.agent_token(self.room)
        assert await self.new.take_over(TakeOver(room_token=token, state=handed.state)) == 202
        await self.new_story.wait_for(Joined)

    async def until_superseded(self) -> None:
        ended = await self.old_story.wait_for(CallEnded, 10)
        assert ended.reason is EndReason.SUPERSEDED
        assert await self.old.exit_code() == 0
        assert self.old.termination().reason == "superseded"

    async def ask(self, text: str) -> None:
        await self.customer.until(lambda: self.customer.agent_state == "listening", 10, "a listening agent")
        await self.customer.type(text)
        await self.customer.until_said(f"You said: {text}.")


Start = Callable[..., Awaitable[Handed]]


@pytest.fixture
async def start(livekit: LiveKitServer, fake: FakeOpenAI) -> AsyncIterator[Start]:
    """Returns what starts a call, whose customer has been greeted, and a pod that stands by for it."""
    room = new_room()
    async with (
        running_pod([build_provider(fake.base_url)], AGENT_GRACE_SECONDS="40") as new,
        running_pod([build_provider(fake.base_url)], AGENT_GRACE_SECONDS="40") as old,
        joined_room(livekit.url, livekit.customer_token(room)) as customer,
    ):

        async def run(profile: AgentProfileSpec | None = None) -> Handed:
            first = build_assignment(livekit, room, profile)
            old_story = await old.assign(first)
            await customer.until_said(first.profile.greeting)
            new_story = await new.assign(as_standby(first))
            await new_story.wait_for(Ready)
            return Handed(livekit, fake, old, new, customer, old_story, new_story, room)

        yield run


def with_token(assignment: Assignment, conversations: ConversationsDatabase) -> Assignment:
    """Returns the assignment with its write token."""
    token = conversation_write_token(conversations.key, assignment.session_id, assignment.attempt)
    return assignment.model_copy(update={"write_token": token})


def as_standby(assignment: Assignment) -> Assignment:
    return assignment.model_copy(update={"attempt": assignment.attempt + 1, "standby": True})


async def test_a_call_changes_hands_in_a_pause(start: Start) -> None:
    call = await start()
    await call.ask("good morning")
    assert not call.new_story.all_of(Joined)
    assert await call.old.hand_over() == 202
    assert (await call.old_story.wait_for(HandedOver)).quiet
    await call.take_over()
    await call.until_superseded()
    await call.ask("do you know me?")
    said = [message["content"] for message in call.fake.chats[-1]["messages"][1:]]
    assert said == [GREETING, "good morning", "You said: good morning.", "do you know me?"]
    assert call.fake.spoken.count(GREETING) == 1
    assert "good morning" not in call.old.log + call.new.log


async def test_nobody_is_cut_off_while_there_is_patience(start: Start) -> None:
    call = await start()
    await call.customer.type(LONG)
    await call.customer.until(lambda: call.customer.agent_state == "speaking", 10, "a speaking agent")
    assert await call.old.hand_over() == 202
    handed = await call.old_story.wait_for(HandedOver)
    assert handed.quiet
    assert handed.state["rows"][-1]["content"] == f"You said: {LONG}."
    assert not handed.state["rows"][-1]["interrupted"]
    await call.take_over()
    await call.until_superseded()


async def test_when_patience_is_over_the_agents_sentence_is_cut(start: Start) -> None:
    call = await start()
    await call.customer.type(LONG)
    await call.customer.until(lambda: call.customer.agent_state == "speaking", 10, "a speaking agent")
    assert await call.old.hand_over(patience=0.3) == 202
    handed = await call.old_story.wait_for(HandedOver)
    assert not handed.quiet
    assert handed.state["cutOff"]
    assert handed.state["rows"][-1]["interrupted"]
    await call.take_over()
    await call.until_superseded()
    await call.ask("go on")


async def test_an_agent_whom_nobody_follows_goes_on(start: Start) -> None:
    call = await start()
    assert await call.old.hand_over() == 202
    await call.old_story.wait_for(HandedOver)
    await call.customer.type("are you there?")
    await call.old_story.wait_for(Resumed, SUCCESSOR_SECONDS + 5)
    await call.customer.until_said("You said: are you there?.")
    await call.ask("good")
    assert await call.old.hand_over() == 202
    await call.old_story.until(lambda: len(call.old_story.all_of(HandedOver)) == 2, 10, "another hand-over")


async def tell_late(call: Handed) -> None:
    late = await call.old_story.wait_for(HeardLate)
    assert await call.new.take_over(TakeOver(state=late.state)) == 202


async def test_what_is_typed_while_a_call_changes_hands_is_answered_by_the_next(start: Start) -> None:
    call = await start()
    assert await call.old.hand_over() == 202
    await call.old_story.wait_for(HandedOver)
    await call.customer.type("too early")
    await stays(lambda: not call.customer.agent_said("You said: too early."), 0.5, "the old one answers")
    await call.take_over()
    await tell_late(call)
    await call.customer.until_said("You said: too early.")
    await call.until_superseded()


async def test_what_is_said_while_a_call_changes_hands_is_answered_by_the_next(start: Start) -> None:
    call = await start()
    call.fake.transcripts.append("a table for two")
    assert await call.old.hand_over() == 202
    await call.old_story.wait_for(HandedOver)
    await call.customer.say(speech_pcm("I would like to book a table for two people."))
    await call.take_over()
    await tell_late(call)
    await call.customer.until_said("You said: a table for two.")
    await call.until_superseded()


NOTES = """
from livekit.agents import Agent, function_tool

class Clerk(Agent):
    def __init__(self):
        super().__init__(instructions="x")
    @function_tool
    async def note(self, text: str) -> str:
        "Note a text"
        noted = self.session.userdata.setdefault("notes", "")
        self.session.userdata["notes"] = noted + text
        return "Noted: " + self.session.userdata["notes"]
"""


async def test_userdata_comes_along_by_word_of_mouth(livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path) -> None:
    (tmp_path / "clerk.py").write_text(NOTES)
    environment: dict[str, Any] = {"AGENT_CODE": "clerk:Clerk", "WORKING_FOLDER": str(tmp_path)}
    room = new_room()
    async with (
        running_pod([build_provider(fake.base_url)], **environment) as old,
        running_pod([build_provider(fake.base_url)], **environment) as new,
        joined_room(livekit.url, livekit.customer_token(room)) as customer,
    ):
        first = build_assignment(livekit, room)
        old_story = await old.assign(first)
        await customer.until_said(GREETING)
        new_story = await new.assign(as_standby(first))
        await new_story.wait_for(Ready)
        await customer.type('please use note with {"text": "a"}')
        await customer.until_said("The tool says: Noted: a")
        assert await old.hand_over() == 202
        await Handed(livekit, fake, old, new, customer, old_story, new_story, room).take_over()
        await customer.until(lambda: customer.agent_state == "listening", 10, "a listening agent")
        await customer.type('please use note with {"text": "b"}')
        await customer.until_said("The tool says: Noted: ab")


async def test_with_the_database_away_the_next_one_is_told_and_writes_what_the_old_one_could_not(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase
) -> None:
    room, url = new_room(), conversations.url("voice_agent")
    first = with_token(build_assignment(livekit, room), conversations)
    async with (
        running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as old,
        running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as new,
        joined_room(livekit.url, livekit.customer_token(room)) as customer,
    ):
        old_story = await old.assign(first)
        await customer.until_said(GREETING)
        new_story = await new.assign(with_token(as_standby(first), conversations))
        await new_story.wait_for(Ready)
        call = Handed(livekit, fake, old, new, customer, old_story, new_story, room)
        conversations.server.stop()
        try:
            await call.ask("one")
            assert await old.hand_over() == 202
            await call.take_over()
            await call.ask("two")
        finally:
            conversations.server.start()
        await new.end()
        ended = await new_story.wait_for(CallEnded)
    assert ended.end_written
    said = [GREETING, "one", "You said: one.", "two", "You said: two.", "Bye now."]
    rows = conversations.query("SELECT content FROM voice.conversation_messages ORDER BY position, attempt")
    assert [row["content"] for row in rows] == said


async def test_a_pod_that_is_told_to_stop_talks_until_another_has_its_call(start: Start) -> None:
    call = await start()
    call.old.signal(signal.SIGTERM)
    await call.ask("still there?")
    assert await call.old.hand_over() == 202
    await call.take_over()
    await call.until_superseded()
    await call.ask("and you?")


async def test_a_standby_that_is_not_wanted_goes_without_a_word(start: Start) -> None:
    call = await start()
    assert await call.new.end() == 202
    await call.new_story.wait_for(CallEnded)
    assert await call.new.exit_code() == 0
    await call.ask("still there?")
    assert not call.old_story.all_of(CallEnded)
