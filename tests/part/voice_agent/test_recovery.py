"""A conversation that outlives its pod: an agent is killed, and the next one goes on."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_cluster.layout import REPOSITORY
from testing.agent_pod import AgentPod, Follower, build_assignment, build_provider, running_pod
from testing.conversations import ConversationsDatabase
from testing.customer import Customer, joined_room
from testing.fake_openai import RIGHT_KEY, FakeOpenAI
from testing.livekit import LiveKitServer, new_room
from testing.waiting import eventually
from voice_agent.opening import ASK_AGAIN, GO_ON
from voice_agent.recollection import OUTCOME_UNKNOWN
from voicesession.assignment import Assignment, Heartbeat, Recovery, conversation_write_token
from voicesession.models import AgentProfileSpec

EXAMPLES = REPOSITORY / "examples" / "agents"
WELCOME = "Pizza line, good evening. What may I bring you?"


@dataclass
class Stage:
    """A customer in a room, and two pods: the second is to go on where the first one died."""

    livekit: LiveKitServer
    conversations: ConversationsDatabase
    assignment: Assignment
    customer: Customer
    pods: list[AgentPod]
    attempt: int = 0
    dead: str = ""

    async def next_agent(self, **fields: Any) -> Follower:
        """Gives the conversation to the next pod; returns its events."""
        self.attempt += 1
        token = conversation_write_token(self.conversations.key, self.assignment.session_id, self.attempt)
        room_token = self.livekit.agent_token(self.assignment.room)
        fields = {"attempt": self.attempt, "write_token": token, "room_token": room_token, **fields}
        return await self.pods[self.attempt - 1].assign(self.assignment.model_copy(update=fields))

    async def kill(self) -> None:
        """Kills the pod that has the conversation. For a while the room looks as if it were there."""
        self.dead = self.customer.room.remote_participants["agent"].sid
        pod = self.pods[self.attempt - 1]
        pod.signal(signal.SIGKILL)
        await pod.exit_code()

    async def until_written(self, follower: Follower) -> None:
        """Waits until a heartbeat tells that nothing is unwritten."""
        seen = len(follower.events)

        def written() -> bool:
            return any(isinstance(event, Heartbeat) and not event.unwritten_items for event in follower.events[seen:])

        await follower.until(written, 30, "a heartbeat without unwritten items")

    async def until_listening(self) -> None:
        """Waits until the agent that is not the dead one listens."""

        def listens() -> bool:
            is_new = self.customer.room.remote_participants["agent"].sid != self.dead
            return is_new and self.customer.agent_state == "listening"

        await self.customer.until(listens, 20, "the successor")

    def rows(self, kind: str = "message") -> list[dict[str, Any]]:
        """Returns what the database has, in order."""
        query = "SELECT * FROM voice.conversation_messages WHERE kind = %s ORDER BY position, attempt"
        return self.conversations.query(query, kind)


@asynccontextmanager
async def stage(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, **environment: Any
) -> AsyncIterator[Stage]:
    """Yields the play with the customer in the room, and nobody else."""
    fake.required_key = RIGHT_KEY
    room = new_room()
    environment = {"DATABASE_URL": conversations.url("voice_agent"), **environment}
    provider, keys = build_provider(fake.base_url), {"fake": RIGHT_KEY}
    async with (
        running_pod([provider], keys, **environment) as first,
        running_pod([provider], keys, **environment) as second,
        joined_room(livekit.url, livekit.customer_token(room)) as customer,
    ):
        yield Stage(livekit, conversations, build_assignment(livekit, room), customer, [first, second])


@pytest.mark.parametrize("code", ["pizza", "pizza:OrderTaker"])
async def test_nobody_is_greeted_twice_by_own_code(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, code: str
) -> None:
    async with stage(livekit, fake, conversations, AGENT_CODE=code, WORKING_FOLDER=str(EXAMPLES)) as play:
        follower = await play.next_agent()
        await play.customer.until_said(WELCOME)
        await play.customer.type("what is your name?")
        await play.customer.until_said("You said: what is your name?.")
        await play.until_written(follower)
        await play.kill()
        await play.next_agent()
        await play.until_listening()
        await play.customer.type("still there?")
        await play.customer.until_said("You said: still there?.")
    told = [message["content"] for message in fake.chats[-1]["messages"] if message["role"] != "system"]
    assert told == [WELCOME, "what is your name?", "You said: what is your name?.", "still there?"]
    assert [row["content"] for row in play.rows()].count(WELCOME) == 1


async def test_a_sentence_that_was_cut_off_is_taken_up_again(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase
) -> None:
    story = "and then there was another thing that happened to us on our way " * 6
    async with stage(livekit, fake, conversations) as play:
        await play.next_agent()
        await play.customer.until_said("Hello there.")
        await play.customer.type(story)
        await eventually(lambda: len(play.rows()) == 3)
        await play.kill()
        (*_, cut) = play.rows()
        await play.next_agent()
        await eventually(lambda: len(fake.chats) == 2)
    assert (cut["role"], cut["interrupted"], cut["provisional"]) == ("assistant", True, True)
    assert f"You said: {story}.".startswith(cut["content"])
    assert 0 < len(cut["content"]) < len(story)
    question, answer, instruction = fake.chats[1]["messages"][-3:]
    assert (question["content"], answer["content"]) == (story, cut["content"])
    assert instruction == {"role": "system", "content": GO_ON}


COUNTING = " ".join(["one two three four five six seven eight nine ten eleven twelve"] * 3)


async def test_a_stopped_pod_leaves_its_sentence_as_far_as_it_was_heard(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase
) -> None:
    async with stage(livekit, fake, conversations) as play:
        follower = await play.next_agent()
        await play.customer.until_said("Hello there.")
        await play.customer.type(COUNTING)
        seen = len(follower.all_of(Heartbeat))
        await follower.until(
            lambda: any(beat.agent_state == "speaking" for beat in follower.all_of(Heartbeat)[seen:]), 10, "an answer"
        )
        play.pods[0].signal(signal.SIGTERM)
        assert await play.pods[0].exit_code() == 0
    (*_, cut) = play.rows()
    assert cut["provisional"]
    # As far as it was heard: on a busy machine a word or two.
    assert cut["content"]
    assert f"You said: {COUNTING}.".startswith(cut["content"])


LOST = Recovery(reason="AgentCrashed", gap_seconds=5)


async def test_a_gap_that_the_customer_has_heard_is_apologized_for(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase
) -> None:
    async with stage(livekit, fake, conversations) as play:
        follower = await play.next_agent()
        await play.customer.until_said("Hello there.")
        await play.until_written(follower)
        await play.kill()
        await play.next_agent(recovery=LOST)
        await play.customer.until_said(AgentProfileSpec().recovery.apology)
        await play.customer.type("still there?")
        await play.customer.until_said("You said: still there?.")
    told = [message["content"] for message in fake.chats[-1]["messages"] if message["role"] != "system"]
    assert told == ["Hello there.", "still there?"]
    assert fake.spoken.count("Hello there.") == 1


async def test_without_its_rows_it_asks_where_they_were_and_knows_once_it_can(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase
) -> None:
    async with stage(livekit, fake, conversations) as play:
        await play.next_agent()
        await play.customer.until_said("Hello there.")
        await eventually(lambda: [row for row in play.rows() if not row["provisional"]])
        conversations.server.stop()
        try:
            await play.kill()
            await play.next_agent(recovery=LOST)
            await play.customer.until_said(f"You said: {ASK_AGAIN}.")
        finally:
            conversations.server.start()
        for number in range(20):
            await play.customer.type(f"and now {number}")
            await play.customer.until_said(f"You said: and now {number}.")
            if "Hello there." in str(fake.chats[-1]):
                break
    said = [message["content"] for message in fake.chats[-1]["messages"] if message["role"] == "assistant"]
    assert said[:2] == ["Hello there.", f"You said: {ASK_AGAIN}."]
    assert fake.spoken.count("Hello there.") == 1


HESITATES = """
import asyncio
from livekit.agents import Agent, function_tool

class Clerk(Agent):
    def __init__(self):
        super().__init__(instructions="x")
    async def on_enter(self):
        print("userdata", self.session.userdata, flush=True)
        self.session.say("Hello there.")
    @function_tool
    async def note(self, text: str) -> str:
        "Note a text"
        self.session.userdata["note"] = text
        return "It is noted."
    @function_tool
    async def pay_bill(self) -> str:
        "Pay the bill"
        await asyncio.sleep(600)
"""


async def test_userdata_comes_along_and_a_tool_without_a_result_has_an_unknown_outcome(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, tmp_path: Path
) -> None:
    (tmp_path / "clerk.py").write_text(HESITATES)
    async with stage(livekit, fake, conversations, AGENT_CODE="clerk:Clerk", WORKING_FOLDER=str(tmp_path)) as play:
        await play.next_agent()
        await play.customer.until_said("Hello there.")
        await play.customer.type('please use note with {"text": "blue"}')
        await play.customer.until_said("The tool says: It is noted.")
        await play.customer.type("please use pay_bill with {}")
        await eventually(lambda: len(play.rows("tool_call")) == 2)
        await play.kill()
        await play.next_agent()
        await play.customer.until_said(f"The tool says: {OUTCOME_UNKNOWN}")
        assert "userdata {'note': 'blue'}" in play.pods[1].log


async def test_an_order_goes_on_with_the_same_pizzas(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase
) -> None:
    async with stage(livekit, fake, conversations, AGENT_CODE="pizza", WORKING_FOLDER=str(EXAMPLES)) as play:
        await play.next_agent()
        await play.customer.until_said(WELCOME)
        await play.customer.type('please use add_pizza with {"pizza": "funghi"}')
        await play.customer.until_said("The tool says: One funghi. That makes 1 so far.")
        await play.kill()
        await play.next_agent()
        await play.until_listening()
        await play.customer.type('please use add_pizza with {"pizza": "salami"}')
        await play.customer.until_said("The tool says: One salami. That makes 2 so far.")
        await play.customer.type("please use finish_order with {}")
        await play.customer.until_said("Where may I send it?")
    results = [row["content"] for row in play.rows("tool_result")]
    assert results[-1] == "That is 19 euros. A colleague takes the address."


async def test_the_agent_that_had_the_conversation_goes_on(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase
) -> None:
    async with stage(livekit, fake, conversations, AGENT_CODE="pizza:OrderTaker", WORKING_FOLDER=str(EXAMPLES)) as play:
        await play.next_agent()
        await play.customer.until_said(WELCOME)
        await play.customer.type('please use add_pizza with {"pizza": "funghi"}')
        await play.customer.until_said("The tool says: One funghi. That makes 1 so far.")
        await play.customer.type("please use finish_order with {}")
        await play.customer.until_said("Where may I send it?")
        await play.kill()
        await play.next_agent()
        await play.until_listening()
        last = 'please use set_address with {"address": "Main Street 1"}'
        await play.customer.type(last)
        await play.customer.until_said("The tool says: It will be at Main Street 1 in half an hour.")
    (typed,) = conversations.query("SELECT value, attempt FROM voice.conversation_memory WHERE name = 'typed'")
    assert typed["attempt"] == 2
    assert sum(typed["value"].values()) > len(last)  # what was typed to the first agent counts, too
    kept = conversations.query("SELECT name, value, attempt FROM voice.conversation_memory WHERE name = 'saved'")
    assert kept == [{"name": "saved", "value": {"pizzas": ["funghi"], "address": "Main Street 1"}, "attempt": 2}]


GREETS_AFTER_ITS_START = """
from livekit.agents import Agent, AgentSession, JobContext
from livekit.plugins import openai

class Shy(Agent):
    def __init__(self):
        super().__init__(instructions="x")
    async def on_enter(self):
        print("knows", [item.text_content for item in self.chat_ctx.messages()[1:]], flush=True)

async def entrypoint(ctx: JobContext):
    session = AgentSession(stt=openai.STT(), llm=openai.LLM(), tts=openai.TTS(response_format="pcm"),
        turn_handling={"turn_detection": "vad"})
    await ctx.connect()
    await session.start(agent=Shy(), room=ctx.room)
    await session.generate_reply(instructions="say welcome")
    print("has welcomed", flush=True)
"""


async def test_an_entrypoint_begins_with_the_history_and_answers_what_was_left_open(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, tmp_path: Path
) -> None:
    (tmp_path / "shy.py").write_text(GREETS_AFTER_ITS_START)
    async with stage(livekit, fake, conversations, AGENT_CODE="shy:entrypoint", WORKING_FOLDER=str(tmp_path)) as play:
        follower = await play.next_agent()
        await play.customer.until_said("You said: say welcome.")
        fake.statuses["chat"] = 500
        await play.customer.type("is it open?")
        await eventually(lambda: len(fake.chats) > 1)
        await play.until_written(follower)
        await play.kill()
        fake.statuses.clear()
        await play.next_agent()
        await play.customer.until_said("You said: is it open?.")
        assert "knows ['You said: say welcome.', 'is it open?']" in play.pods[1].log
        assert "has welcomed" in play.pods[1].log
    assert [row["content"] for row in play.rows()] == [
        "You said: say welcome.",
        "is it open?",
        "You said: is it open?.",
    ]
