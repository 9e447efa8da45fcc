"""Agents' own code: our example as it is, its class alone, and code that misbehaves."""

import asyncio
import os
import re
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from livekit.agents.voice.remote_session import TOPIC_SESSION_MESSAGES as SESSION_TOPIC

from local_cluster.layout import REPOSITORY
from testing.agent_pod import AgentPod, build_assignment, build_provider, running_pod
from testing.conversations import ConversationsDatabase
from testing.customer import Customer, joined_room
from testing.fake_openai import RIGHT_KEY, FakeOpenAI
from testing.livekit import LiveKitServer, new_room
from testing.session_host import session_requests
from testing.waiting import eventually
from voice_agent.apology import APOLOGY
from voicesession.assignment import CallEnded, Joined, RoomDeletionRequested, conversation_write_token
from voicesession.models import EffectiveLimits, EndReason

EXAMPLES = REPOSITORY / "examples" / "agents"
WELCOME = "Pizza line, good evening. What may I bring you?"


@pytest.fixture(autouse=True)
def _models_want_a_key(fake: FakeOpenAI) -> None:
    fake.required_key = RIGHT_KEY


@pytest.mark.parametrize("code", ["pizza", "pizza:entrypoint", "pizza:OrderTaker"])
async def test_the_example_takes_an_order(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, code: str
) -> None:
    room = new_room()
    assignment = build_assignment(livekit, room)
    token = conversation_write_token(conversations.key, assignment.session_id, 1)
    async with running_pod(
        [build_provider(fake.base_url)],
        keys={"fake": RIGHT_KEY},
        AGENT_CODE=code,
        WORKING_FOLDER=str(EXAMPLES),
        DATABASE_URL=conversations.url("voice_agent"),
    ) as pod:
        follower = await pod.assign(assignment.model_copy(update={"write_token": token}))
        await follower.wait_for(Joined)
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(WELCOME)
            await customer.type('please use add_pizza with {"pizza": "funghi"}')
            await customer.until_said("The tool says: One funghi. That makes 1 so far.")
            await customer.type("please use finish_order with {}")
            await customer.until_said("Where may I send it?")
            await customer.type("please use hang_up with {}")
            await customer.until_said("Enjoy your meal. Goodbye.")
            ended = await follower.wait_for(CallEnded)
        assert ended.reason is EndReason.ENDED_BY_REQUEST
        assert ended.message == "the order is complete"
        assert await pod.exit_code() == 0
        assert ("the call is over: the order is complete" in pod.log) == (code != "pizza:OrderTaker")
    rows = conversations.query("SELECT * FROM voice.conversation_messages ORDER BY position")
    told: list[tuple[str, Any]] = [
        (row["kind"], row["tool"]["arguments"] if row["kind"] == "tool_call" else row["tool"] or row["content"])
        for row in rows
        if row["kind"] in {"tool_call", "handoff"}
    ]
    assert told == [
        ("tool_call", {"pizza": "funghi"}),
        ("tool_call", {}),
        ("handoff", {"from": "order_taker", "to": "dispatcher"}),
        ("tool_call", {}),
    ]
    results = [row["content"] for row in rows if row["kind"] == "tool_result"]
    assert results[:2] == ["One funghi. That makes 1 so far.", "That is 9 euros. A colleague takes the address."]
    said = [row["content"] for row in rows if row["kind"] == "message" and row["role"] == "assistant"]
    assert said[0] == WELCOME
    assert "Where may I send it?" in said
    assert said[-1] == "Enjoy your meal. Goodbye."


async def test_limits_hold_for_own_code(livekit: LiveKitServer, fake: FakeOpenAI) -> None:
    room = new_room()
    limits = EffectiveLimits(idle_timeout_seconds=6)
    async with running_pod(
        [build_provider(fake.base_url)], {"fake": RIGHT_KEY}, AGENT_CODE="pizza", WORKING_FOLDER=str(EXAMPLES)
    ) as pod:
        follower = await pod.assign(build_assignment(livekit, room, limits=limits))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(WELCOME)
            await customer.until_said("Bye now.")
            assert (await follower.wait_for(CallEnded)).reason is EndReason.IDLE
        assert "the call is over: idle" in pod.log


def write_agent(folder: Path, body: str) -> None:
    """Makes a module `acme` with an entrypoint that runs `body` in a job context, before or instead of a session."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    (folder / "acme.py").write_text(
        "import asyncio, json\n"
        "from livekit.agents import Agent, AgentSession, JobContext, get_job_context\n"
        "from livekit.plugins import openai\n"
        "async def begin(ctx):\n"
        "    session = AgentSession(stt=openai.STT(), llm=openai.LLM(), tts=openai.TTS(response_format='pcm'),\n"
        "        turn_handling={'turn_detection': 'vad'})\n"
        "    await session.start(Agent(instructions='x'), room=ctx.room)\n"
        "    return session\n"
        f"async def entrypoint(ctx: JobContext):\n{lines}\n"
    )


def run_agent(folder: Path, fake: FakeOpenAI, body: str, **environment: Any) -> AbstractAsyncContextManager[AgentPod]:
    write_agent(folder, body)
    variables = {"AGENT_CODE": "acme:entrypoint", "WORKING_FOLDER": str(folder), **environment}
    return running_pod([build_provider(fake.base_url)], {"fake": RIGHT_KEY}, **variables)


async def test_what_an_entrypoint_can_use(livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path) -> None:
    body = """
ctx.log_context_fields = {"order": "4711"}
ctx.add_shutdown_callback(on_shutdown)
await ctx.connect()
assert (await ctx.wait_for_participant()).identity == "customer"
session = await begin(ctx)
assert get_job_context() is ctx and ctx.primary_session is session
about = ctx.job.attributes
name = json.loads(ctx.job.metadata)["name"]
import logging; logging.getLogger("acme").warning("serving")
session.say(f"{name} {about['voiceagents.dev/profile']} {about['voiceagents.dev/attempt']} {ctx.room.name}")
"""
    room = new_room()
    pod_context = run_agent(tmp_path, fake, body)
    with (tmp_path / "acme.py").open("a") as file:
        file.write("async def on_shutdown(reason): print('told', reason, flush=True)\n")
    async with pod_context as pod:
        follower = await pod.assign(build_assignment(livekit, room, variables={"name": "Ada"}))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(f"Ada default 1 {room}")
        assert (await follower.wait_for(CallEnded)).reason is EndReason.PARTICIPANT_LEFT
        assert await pod.exit_code() == 0
        assert '"order": "4711"' in pod.log
        assert "told participant_left" in pod.log


async def test_own_code_keeps_the_call_of_a_customer_who_returns(
    livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path
) -> None:
    room, token = (name := new_room()), livekit.customer_token(name)
    limits = EffectiveLimits(return_grace_seconds=5)
    async with run_agent(tmp_path, fake, "await begin(ctx)") as pod:
        follower = await pod.assign(build_assignment(livekit, room, limits=limits))
        for words in ("hello", "still there?"):
            async with joined_room(livekit.url, token) as customer:
                await customer.type_until_said(words, f"You said: {words}.")
                assert not follower.all_of(CallEnded)
        assert (await follower.wait_for(CallEnded)).reason is EndReason.PARTICIPANT_LEFT


async def test_what_is_typed_before_the_session_runs_is_answered(
    livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path
) -> None:
    body = """
typed = asyncio.Event()
ctx.room.on("data_received", lambda _: typed.set())
await ctx.connect()
await typed.wait()
await begin(ctx)
"""
    room = new_room()
    async with run_agent(tmp_path, fake, body) as pod:
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            follower = await pod.assign(build_assignment(livekit, room))
            await follower.wait_for(Joined)
            await customer.until(lambda: customer.heard.agent_joined_at is not None, 20, "an agent in the room")
            await customer.type("are you there")
            await customer.room.local_participant.publish_data(b"typed")  # arrives after it
            await customer.until_said("You said: are you there.")
        await follower.wait_for(CallEnded)


@pytest.mark.parametrize("code", ["", "acme:Waiter", "acme:entrypoint"])
async def test_who_is_in_the_room_gets_at_the_agent_by_talking_alone(
    livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path, code: str
) -> None:
    write_agent(tmp_path, "session = await begin(ctx)\nawait ctx.wait_for_participant()\nsession.say('Hello there.')")
    with (tmp_path / "acme.py").open("a") as file:
        file.write("class Waiter(Agent):\n    def __init__(self): super().__init__(instructions='a secret')\n")
    room = new_room()
    keys, folder = {"fake": RIGHT_KEY}, str(tmp_path)
    async with running_pod([build_provider(fake.base_url)], keys, AGENT_CODE=code, WORKING_FOLDER=folder) as pod:
        await pod.assign(build_assignment(livekit, room))
        answers: list[str] = []
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            customer.room.register_byte_stream_handler(SESSION_TOPIC, lambda _, identity: answers.append(identity))
            await customer.until_said("Hello there.")
            for message in session_requests():
                await customer.room.local_participant.send_bytes(message, topic=SESSION_TOPIC)
            customer.heard.frames.clear()
            await customer.type("still there?")
            await customer.until_said("You said: still there?.")
            await customer.until(lambda: customer.heard.last_audible() is not None, 20, "an audible answer")
        assert answers == [], "the session host answered or told of its session"
        assert "cancel every order" not in str(fake.chats)


async def test_code_that_wants_its_room_deleted(livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path) -> None:
    body = """
await begin(ctx)
await ctx.wait_for_participant()
from livekit import api
await ctx.api.room.delete_room(api.DeleteRoomRequest(room=ctx.room.name))
try:
    await ctx.transfer_sip_participant("customer", "tel:+1")
except api.TwirpError as error:
    print(error.code, error.message, flush=True)
"""
    room = new_room()
    async with run_agent(tmp_path, fake, body) as pod:
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)):
            await follower.wait_for(RoomDeletionRequested)
        await eventually(lambda: "permission_denied SIP/TransferSIPParticipant is not served to agent pods" in pod.log)


async def apology_heard(customer: Customer) -> None:
    await customer.until(lambda: APOLOGY in str(customer.heard.messages), 20, "a message")
    await customer.until(lambda: customer.heard.last_audible() is not None, 20, "an audible apology")


@pytest.mark.parametrize("before", ["", "await begin(ctx)\n"])
async def test_code_that_fails_is_apologized_for(
    livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path, before: str
) -> None:
    room = new_room()
    async with run_agent(tmp_path, fake, f"{before}raise LookupError('no such order')") as pod:
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await apology_heard(customer)
            ended = await follower.wait_for(CallEnded)
        assert ended.reason is EndReason.ERROR
        assert ended.message == "the agent's code failed: LookupError"
        told = next(line for line in pod.lines if line["message"] == "the agent's code failed")
        assert told["error"] == "LookupError"
        assert re.search(r"/acme.py:\d+ entrypoint$", told["at"][-1])


async def test_code_that_never_joins(livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path) -> None:
    room = new_room()
    async with run_agent(tmp_path, fake, "pass") as pod:
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await apology_heard(customer)
            ended = await follower.wait_for(CallEnded)
        assert ended.message == "the agent's entrypoint returned without joining the room"


async def test_code_that_takes_too_long_to_join(livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path) -> None:
    room = new_room()
    async with run_agent(tmp_path, fake, "await asyncio.sleep(300)") as pod:
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            # It waits 20 s for the room, and 15 s for the code to come to its end.
            ended = await follower.wait_for(CallEnded, 90)
            assert APOLOGY in str(customer.heard.messages)
            assert customer.heard.audible_seconds() > 1
        assert ended.message == "the agent's code did not ask for the room within 20 s"


async def test_what_is_said_in_a_second_session_is_written_too(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, tmp_path: Path
) -> None:
    body = """
await begin(ctx)
second = AgentSession(llm=openai.LLM())
await second.start(Agent(instructions='x'))
await second.run(user_input='is there a table')
await second.aclose()
ctx.shutdown()
"""
    assignment = build_assignment(livekit, new_room())
    token = conversation_write_token(conversations.key, assignment.session_id, 1)
    async with run_agent(tmp_path, fake, body, DATABASE_URL=conversations.url("voice_agent")) as pod:
        follower = await pod.assign(assignment.model_copy(update={"write_token": token}))
        assert (await follower.wait_for(CallEnded)).reason is EndReason.ENDED_BY_REQUEST
    rows = conversations.query("SELECT * FROM voice.conversation_messages ORDER BY position")
    assert [(row["role"], row["content"]) for row in rows] == [
        ("user", "is there a table"),
        ("assistant", "You said: is there a table."),
    ]


async def test_code_that_ends_its_own_session(livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path) -> None:
    room = new_room()
    body = """
session = await begin(ctx)
await ctx.wait_for_participant()
await session.say("That is all.")
session.shutdown()
"""
    async with run_agent(tmp_path, fake, body) as pod:
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said("That is all.")
            ended = await follower.wait_for(CallEnded)
        assert ended.reason is EndReason.ENDED_BY_REQUEST
        assert ended.message == "the agent's code ended the conversation"


async def test_code_that_ends_the_call_in_words_that_cannot_be_sent(
    livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path
) -> None:
    body = """
await begin(ctx)
await ctx.wait_for_participant()
ctx.shutdown(reason="all done \\ud83d\\x00.")
"""
    room = new_room()
    async with run_agent(tmp_path, fake, body) as pod:
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)):
            ended = await follower.wait_for(CallEnded)
        assert (ended.reason, ended.message) == (EndReason.ENDED_BY_REQUEST, "all done   .")
        assert await pod.exit_code() == 0
        assert pod.termination().message == ended.message


async def test_code_that_holds_the_event_loop_up_is_ended(
    livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path
) -> None:
    body = """
await ctx.connect()
import time
time.sleep(600)
"""
    room = new_room()
    async with run_agent(tmp_path, fake, body, AGENT_HANG_SECONDS="3") as pod:
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await pod.assign(build_assignment(livekit, room))
            await eventually(lambda: "agent" in customer.room.remote_participants)
            assert await pod.exit_code() == 1
            assert "agent" in customer.room.remote_participants, "it left the room: clients hang up at that"
        assert pod.termination().reason == "hang"
        assert "held its event loop up for 3 s" in pod.termination().message
        assert "/acme.py:" in pod.log


async def test_the_example_starts_on_a_laptop() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / "pizza.py"), "console", "--help"),
        env={**os.environ, "OPENAI_API_KEY": "none"},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0
    assert b"console" in output.lower()
