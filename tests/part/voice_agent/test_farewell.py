"""How a call ends: its goodbye is said whole, and what its agent still does is done though the customer has gone."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testing.agent_pod import AgentPod, Follower, build_assignment, build_provider, running_pod
from testing.conversations import ConversationsDatabase
from testing.customer import Customer, joined_room
from testing.fake_openai import RIGHT_KEY, FakeOpenAI, RealtimeConversation
from testing.livekit import LiveKitServer, new_room
from testing.waiting import eventually
from voicesession.assignment import CallEnded, Finishing, Joined, conversation_write_token
from voicesession.models import AgentProfileSpec, EffectiveLimits, EndReason, Provider, RealtimeModel

# Each step of it ends when a file is there.
CODE = """
import asyncio, pathlib
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, StopResponse, function_tool
from livekit.plugins import openai

async def until(name):
    print("begins", name, flush=True)
    while not pathlib.Path(name).exists():
        await asyncio.sleep(0.02)

class Waiter(Agent):
    def __init__(self):
        super().__init__(instructions="x")

    @function_tool
    async def book(self, table: str) -> str:
        await until("booked")
        return f"Table {table} is booked."

    async def on_user_turn_completed(self, turn_ctx, new_message):
        if "note" in new_message.text_content:
            raise StopResponse()

async def on_session_end(ctx: JobContext) -> None:
    await until("summed-up")
    ctx.primary_session.history.add_message(role="system", content="They booked a table.")

async def on_shutdown(reason: str) -> None:
    await until("uploaded")
    print("uploaded after", reason, flush=True)

server = AgentServer(session_end_timeout=SECONDS)

@server.rtc_session(on_session_end=on_session_end)
async def entrypoint(ctx: JobContext) -> None:
    ctx.add_shutdown_callback(on_shutdown)
    session = AgentSession(stt=openai.STT(), llm=openai.LLM(), tts=openai.TTS(response_format="pcm"),
        turn_handling={"turn_detection": "vad"})
    await session.start(Waiter(), room=ctx.room)
"""


@dataclass
class Restaurant:
    """A pod with code that books, sums up and uploads, and what has become of its call."""

    pod: AgentPod
    follower: Follower
    folder: Path
    conversations: ConversationsDatabase

    def has_begun(self, name: str) -> bool:
        return f"begins {name}" in self.pod.log

    async def let(self, name: str) -> None:
        """Waits until it has begun with this, and lets it come to its end."""
        await eventually(lambda: self.has_begun(name), 30, lambda: self.pod.log)
        (self.folder / name).touch()

    def rows(self) -> list[tuple[str, str | None, str | None]]:
        rows = self.conversations.query("SELECT * FROM voice.conversation_messages ORDER BY position, attempt")
        return [(row["kind"], row["role"], row["content"]) for row in rows]

    def ended_at(self) -> Any:
        (row,) = self.conversations.query("SELECT ended_at, end_reason FROM voice.conversation_sessions")
        return row["ended_at"]


@asynccontextmanager
async def open_restaurant(
    livekit: LiveKitServer,
    fake: FakeOpenAI,
    conversations: ConversationsDatabase,
    folder: Path,
    *,
    session_end_seconds: float = 300,
    finish_seconds: int = 60,
    **environment: Any,
) -> AsyncIterator[tuple[Restaurant, str]]:
    """Yields it in its call, and a token for its customer."""
    (folder / "acme.py").write_text(CODE.replace("SECONDS", str(session_end_seconds)))
    room = new_room()
    limits = EffectiveLimits(return_grace_seconds=0, finish_seconds=finish_seconds)
    assignment = build_assignment(livekit, room, limits=limits)
    token = conversation_write_token(conversations.key, assignment.session_id, 1)
    async with running_pod(
        [build_provider(fake.base_url)],
        {"fake": RIGHT_KEY},
        AGENT_CODE="acme",
        WORKING_FOLDER=str(folder),
        DATABASE_URL=conversations.url("voice_agent"),
        **environment,
    ) as pod:
        follower = await pod.assign(assignment.model_copy(update={"write_token": token}))
        await follower.wait_for(Joined)
        yield Restaurant(pod, follower, folder, conversations), livekit.customer_token(room)


async def begin_to_book(restaurant: Restaurant, customer: Customer) -> None:
    await customer.type_until_said("hello", "You said: hello.")
    await customer.type('please use book with {"table": "4"}')
    await eventually(lambda: restaurant.has_begun("booked"), 30, lambda: restaurant.pod.log)


async def test_a_booking_and_the_end_hooks_survive_the_hang_up(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, tmp_path: Path
) -> None:
    async with open_restaurant(livekit, fake, conversations, tmp_path) as (restaurant, token):
        pod, follower = restaurant.pod, restaurant.follower
        async with joined_room(livekit.url, token) as customer:
            await begin_to_book(restaurant, customer)
        finishing = await follower.wait_for(Finishing)
        assert finishing.reason is EndReason.PARTICIPANT_LEFT
        assert finishing.seconds > 60 + 2 * 300
        assert pod.termination().reason == "participant_left", "should it die now, its call has ended"
        assert not pod.termination().end_written
        assert restaurant.ended_at() is None
        for name in ("booked", "summed-up", "uploaded"):
            assert not follower.all_of(CallEnded)
            await restaurant.let(name)
        ended = await follower.wait_for(CallEnded)
        assert (ended.reason, ended.end_written, ended.cut_short) == (EndReason.PARTICIPANT_LEFT, True, [])
        assert await pod.exit_code() == 0
        assert "uploaded after participant_left" in pod.log
        assert restaurant.ended_at() <= finishing.at
        assert ("tool_result", "tool", "Table 4 is booked.") in restaurant.rows()
        assert restaurant.rows()[-1] == ("message", "system", "They booked a table.")


async def test_what_takes_longer_than_it_may_is_given_up_and_told(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, tmp_path: Path
) -> None:
    short: dict[str, Any] = {"session_end_seconds": 0.5, "finish_seconds": 0}
    async with open_restaurant(livekit, fake, conversations, tmp_path, **short) as (restaurant, token):
        async with joined_room(livekit.url, token) as customer:
            await begin_to_book(restaurant, customer)
        ended = await restaurant.follower.wait_for(CallEnded)
        assert ended.cut_short == ["tools", "on_session_end", "shutdown callbacks"]
        assert ended.end_written


async def test_a_pod_that_is_told_to_stop_works_on_for_as_long_as_it_is_given(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, tmp_path: Path
) -> None:
    grace: dict[str, Any] = {"AGENT_GRACE_SECONDS": "18"}  # three of them for work
    async with open_restaurant(livekit, fake, conversations, tmp_path, **grace) as (restaurant, token):
        async with joined_room(livekit.url, token) as customer:
            await begin_to_book(restaurant, customer)
        await restaurant.follower.wait_for(Finishing)
        restaurant.pod.signal(signal.SIGTERM)
        await restaurant.let("booked")
        await restaurant.let("summed-up")
        ended = await restaurant.follower.wait_for(CallEnded)
        assert (ended.reason, ended.end_written) == (EndReason.PARTICIPANT_LEFT, True)
        assert ended.cut_short == ["shutdown callbacks"]


async def test_a_customer_who_is_still_there_is_alone_in_the_room_while_the_agent_works_on(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, tmp_path: Path
) -> None:
    async with open_restaurant(livekit, fake, conversations, tmp_path) as (restaurant, token):
        async with joined_room(livekit.url, token) as customer:
            await begin_to_book(restaurant, customer)
            await restaurant.pod.end()
            await restaurant.follower.wait_for(Finishing)
            await eventually(lambda: not customer.room.remote_participants)
            for name in ("booked", "summed-up", "uploaded"):
                await restaurant.let(name)
        await restaurant.follower.wait_for(CallEnded)


LONG = "Goodbye. " + "It was a pleasure to talk with you, and we hope to hear from you soon. " * 6


async def test_a_goodbye_is_said_whole(livekit: LiveKitServer, pod: AgentPod) -> None:
    room = new_room()
    profile = AgentProfileSpec(greeting="Hello there.", goodbye=LONG)  # some 9 s
    follower = await pod.assign(build_assignment(livekit, room, profile))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said("Hello there.")
        customer.heard.frames.clear()
        await pod.end()
        await customer.until_said(LONG.strip(), timeout=40)
        assert not follower.all_of(Finishing), "a goodbye is no work"
        await follower.wait_for(CallEnded)


async def test_a_goodbye_that_nobody_is_left_to_hear_holds_nothing_up(livekit: LiveKitServer, pod: AgentPod) -> None:
    room = new_room()
    profile = AgentProfileSpec(greeting="Hello there.", goodbye="Good" + "bye " * 500)  # 40 s
    follower = await pod.assign(build_assignment(livekit, room, profile))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said("Hello there.")
        await pod.end()
        await customer.until(lambda: "speaking" in str(customer.agent_state), 20, "the goodbye's beginning")
    ended = await follower.wait_for(CallEnded, timeout=20)
    assert ended.reason is EndReason.ENDED_BY_REQUEST


async def test_a_realtime_model_says_goodbye_too(livekit: LiveKitServer, fake: FakeOpenAI) -> None:
    room = new_room()
    provider = Provider(name="fake", realtime=RealtimeModel(base_url=fake.base_url, model="gpt-realtime"))
    async with running_pod([provider], {"fake": RIGHT_KEY}) as pod:
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(RealtimeConversation.ANSWER)
            await pod.end()
            await follower.wait_for(CallEnded)
    asked = [event["response"]["instructions"] for event in fake.realtime_events if event["type"] == "response.create"]
    assert "Bye now." in asked[-1]


VOICE_OF_ITS_OWN = """
from livekit.agents import Agent
from livekit.plugins import openai

class Waiter(Agent):
    def __init__(self):
        super().__init__(instructions="x", tts=openai.TTS(response_format="pcm", voice="its own"))
"""


async def test_an_agents_own_voice_says_greeting_and_goodbye(
    livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path
) -> None:
    (tmp_path / "acme.py").write_text(VOICE_OF_ITS_OWN)
    room = new_room()
    variables: dict[str, Any] = {
        "AGENT_CODE": "acme:Waiter",
        "WORKING_FOLDER": str(tmp_path),
        "OPENAI_API_KEY": RIGHT_KEY,
        "OPENAI_BASE_URL": fake.base_url,
    }
    async with running_pod([build_provider(fake.base_url)], {"fake": RIGHT_KEY}, **variables) as pod:
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said("Hello there.")
            await pod.end()
            await customer.until_said("Bye now.")
        await follower.wait_for(CallEnded)
    assert fake.spoken == ["Hello there.", "Bye now."]
