"""Whole calls: the pod's process, a real LiveKit, a customer who types and listens, and models that answer as told."""

import asyncio
import json
import signal
from datetime import timedelta

import pytest
from livekit import api, rtc

from testing.agent_pod import AgentPod, Follower, build_assignment, build_provider, running_pod
from testing.customer import Customer, joined_room
from testing.fake_openai import RIGHT_KEY, FakeOpenAI, RealtimeConversation
from testing.livekit import LiveKitServer, new_room
from testing.waiting import eventually, stays
from voice_agent.apology import APOLOGY
from voicesession.assignment import CallEnded, EndRequest, Greeting, Heartbeat, Joined, Preparation
from voicesession.measures import Measured, ModelName, Turn
from voicesession.models import (
    AgentProfileSpec,
    EffectiveLimits,
    EndReason,
    ModelChoices,
    Provider,
    RealtimeModel,
)
from voicesession.names import AGENT_IDENTITY

GREETING = "Hello there."
GOODBYE = "Bye now."


async def until_audible(customer: Customer) -> None:
    await customer.until(lambda: customer.heard.last_audible() is not None, 20, "a sound of the agent's")


async def until_ended(pod: AgentPod, follower: Follower, reason: EndReason, timeout: float = 30) -> CallEnded:
    """Waits for the end; checks that every witness names the same reason."""
    ended = await follower.wait_for(CallEnded, timeout)
    assert ended.reason is reason, ended
    assert await pod.exit_code() == 0
    assert pod.termination().reason == reason.value
    return ended


def find_turns(follower: Follower) -> list[Turn]:
    """Returns the answers that were measured from a question to the model on."""
    turns = [each.turn for each in follower.all_of(Measured) if each.turn]
    return [turn for turn in turns if turn.llm_first_token_millis is not None]


async def test_a_conversation(livekit: LiveKitServer, fake: FakeOpenAI, pod: AgentPod) -> None:
    await pod.prepare(Preparation(greetings=[Greeting(provider="fake", text=GREETING)]))
    await eventually(lambda: len(fake.spoken) == 2)
    room = new_room()
    follower = await pod.assign(build_assignment(livekit, room))
    joined = await follower.wait_for(Joined)
    assert 0 < joined.connect_millis <= joined.joined_millis
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await until_audible(customer)
        await customer.until_said(GREETING)
        assert fake.spoken == [GREETING, APOLOGY], "the greeting was synthesized anew"
        await customer.until(lambda: customer.agent_state == "listening", 10, "a listening agent")
        await customer.type("good morning")
        await customer.until_said("You said: good morning.")
        await follower.until(lambda: bool(find_turns(follower)), 5, "an answer's latencies")
        (turn,) = find_turns(follower)
        assert (turn.llm_first_token_millis or 0) > 0
        assert (turn.tts_first_byte_millis or 0) > 0
        assert turn.llm == ModelName(provider="fake", model="chat")
        await follower.until(lambda: bool(follower.all_of(Heartbeat)), 5, "a heartbeat")
        assert (follower.all_of(Heartbeat)[-1].memory_bytes or 0) > 50_000_000
        assert await pod.end() == 202
        await customer.until_said(GOODBYE)
        ended = await until_ended(pod, follower, EndReason.ENDED_BY_REQUEST)
        assert {model["type"] for model in ended.usage["models"]} == {"llm_usage", "tts_usage"}
        measured = follower.all_of(Measured)
        assert [each.connect_millis for each in measured if each.connect_millis] == [joined.connect_millis]
        assert [each.first_word for each in measured if each.first_word] != []
        assert sum(each.replies for each in measured) == 3, "greeting, answer and goodbye"
        used = [use for each in measured for use in each.used]
        assert {(use.part, use.provider) for use in used} == {("llm", "fake"), ("tts", "fake")}
        assert sum(use.output_tokens for use in used if use.part == "llm") == 5
        assert sum(use.speech_seconds for use in used if use.part == "tts") > 0
        assert "good morning" not in "".join(each.model_dump_json() for each in measured)
    system, *messages = fake.chats[0]["messages"]
    assert system["content"] == AgentProfileSpec().instructions
    assert [message["content"] for message in messages] == [GREETING, "good morning"]
    assert "good morning" not in pod.log


async def test_a_personal_greeting_and_chosen_models(livekit: LiveKitServer, fake: FakeOpenAI, pod: AgentPod) -> None:
    room = new_room()
    profile = AgentProfileSpec(
        greeting="Good day, {name}.",
        instructions="You serve {name}.",
        models=ModelChoices(llm="another-chat"),
    )
    await pod.assign(build_assignment(livekit, room, profile, variables={"name": "Ada"}))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said("Good day, Ada.")
        await customer.type("hello")
        await customer.until_said("You said: hello.")
    assert fake.chats[0]["model"] == "another-chat"
    system, data = (message["content"] for message in fake.chats[0]["messages"][:2])
    assert system.startswith("You serve [name].\n\n")
    assert "Ada" in data
    assert "Ada" not in system


async def test_a_customer_who_takes_text_alone_gets_it(livekit: LiveKitServer, fake: FakeOpenAI, pod: AgentPod) -> None:
    room = new_room()
    await pod.assign(build_assignment(livekit, room, AgentProfileSpec(greeting=GREETING)))
    async with joined_room(livekit.url, livekit.customer_token(room), listens=False) as customer:
        await customer.until_said(GREETING)
        await customer.type("good morning")
        await customer.until_said("You said: good morning.")
        assert not customer.heard.frames


async def test_a_customer_who_hangs_up(livekit: LiveKitServer, pod: AgentPod) -> None:
    room = new_room()
    follower = await pod.assign(build_assignment(livekit, room))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await until_audible(customer)
    await until_ended(pod, follower, EndReason.PARTICIPANT_LEFT, 10)


async def test_a_reloaded_page_keeps_its_call(livekit: LiveKitServer, pod: AgentPod) -> None:
    room = new_room()
    follower = await pod.assign(build_assignment(livekit, room))
    first = Customer(rtc.Room())
    await first.connect(livekit.url, livekit.customer_token(room))
    await until_audible(first)
    async with joined_room(livekit.url, livekit.customer_token(room)) as second:
        await first.until(lambda: first.heard.disconnected is not None, 10, "the first page's eviction")
        await first.close()
        await second.type("still there?")
        await second.until_said("You said: still there?.")
        assert not follower.all_of(CallEnded)
    await until_ended(pod, follower, EndReason.PARTICIPANT_LEFT, 10)


@pytest.mark.parametrize("away", [0.0, 1.0, 3.0])
async def test_who_leaves_and_returns_by_the_same_token_finds_their_call(
    livekit: LiveKitServer, pod: AgentPod, away: float
) -> None:
    room, token = (name := new_room()), livekit.customer_token(name)
    follower = await pod.assign(build_assignment(livekit, room, limits=EffectiveLimits(return_grace_seconds=5)))
    async with joined_room(livekit.url, token) as customer:
        await customer.until_said(GREETING)
        await customer.type("my name is Ada")
        await customer.until_said("You said: my name is Ada.")
    await stays(lambda: not follower.all_of(CallEnded), away, "the call ended at once")
    async with joined_room(livekit.url, token) as customer:
        await customer.type_until_said("still there?", "You said: still there?.")
        assert not customer.agent_said(GREETING)
    await until_ended(pod, follower, EndReason.PARTICIPANT_LEFT, 15)


async def test_a_page_that_mounts_twice_has_one_call(livekit: LiveKitServer, pod: AgentPod) -> None:
    """As React's strict mode does it: connects, leaves, and connects again before it has left."""
    room, token = (name := new_room()), livekit.customer_token(name)
    follower = await pod.assign(build_assignment(livekit, room, limits=EffectiveLimits(return_grace_seconds=5)))
    await follower.wait_for(Joined)
    first = rtc.Room()
    await first.connect(livekit.url, token)
    leaving = asyncio.create_task(first.disconnect())
    async with joined_room(livekit.url, token) as second:
        await leaving
        await second.type_until_said("hello", "You said: hello.")
        assert not follower.all_of(CallEnded)


async def test_who_hangs_up_and_says_so_is_not_waited_for(livekit: LiveKitServer, pod: AgentPod) -> None:
    room = new_room()
    follower = await pod.assign(build_assignment(livekit, room, limits=EffectiveLimits(return_grace_seconds=300)))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said(GREETING)
    async with livekit.client() as client:
        await eventually(lambda: is_alone(client, room))
    assert await pod.end() == 202
    await until_ended(pod, follower, EndReason.PARTICIPANT_LEFT, 15)


async def is_alone(client: api.LiveKitAPI, room: str) -> bool:
    answer = await client.room.list_participants(api.ListParticipantsRequest(room=room))
    return [each.identity for each in answer.participants] == [AGENT_IDENTITY]


async def test_a_stranger_is_no_customer(livekit: LiveKitServer, pod: AgentPod) -> None:
    room = new_room()
    limits = EffectiveLimits(join_timeout_seconds=4)
    async with joined_room(livekit.url, livekit.customer_token(room, "stranger")) as stranger:
        # From before the agent comes until it goes: there is no moment at which it listens to just anyone.
        typing = asyncio.create_task(stranger.type_without_end("let me in"))
        follower = await pod.assign(build_assignment(livekit, room, limits=limits))
        await until_ended(pod, follower, EndReason.NEVER_JOINED)
        typing.cancel()
        await asyncio.wait([typing])
        assert typing.cancelled(), "the stranger stopped typing: this test would prove nothing"
        assert stranger.heard.agent_joined_at is not None
        assert stranger.heard.transcripts == []
        assert stranger.heard.last_audible() is None


async def test_a_customer_whose_name_is_not_known(livekit: LiveKitServer, pod: AgentPod) -> None:
    room = new_room()
    follower = await pod.assign(build_assignment(livekit, room, participant_identity=None))
    async with joined_room(livekit.url, livekit.customer_token(room, "anyone")) as customer:
        await customer.until_said(GREETING)
    await until_ended(pod, follower, EndReason.PARTICIPANT_LEFT, 10)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (EffectiveLimits(idle_timeout_seconds=5), EndReason.IDLE),
        (EffectiveLimits(max_duration_seconds=10), EndReason.MAX_DURATION),
    ],
)
async def test_limits_end_with_a_goodbye(
    livekit: LiveKitServer, pod: AgentPod, limits: EffectiveLimits, reason: EndReason
) -> None:
    room = new_room()
    follower = await pod.assign(build_assignment(livekit, room, limits=limits))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said(GREETING)
        await customer.until_said(GOODBYE)
        await until_ended(pod, follower, reason)


async def test_a_deleted_room(livekit: LiveKitServer, pod: AgentPod) -> None:
    room = new_room()
    follower = await pod.assign(build_assignment(livekit, room))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer, livekit.client() as client:
        await until_audible(customer)
        await client.room.delete_room(api.DeleteRoomRequest(room=room))
        await until_ended(pod, follower, EndReason.ROOM_CLOSED, 10)


async def test_a_second_agent_supersedes(livekit: LiveKitServer, pod: AgentPod) -> None:
    name = new_room()
    follower = await pod.assign(build_assignment(livekit, name))
    async with joined_room(livekit.url, livekit.customer_token(name)) as customer:
        await customer.until_said(GREETING)
        successor = rtc.Room()
        await successor.connect(livekit.url, livekit.agent_token(name))
        await until_ended(pod, follower, EndReason.SUPERSEDED, 10)
        assert not customer.agent_said(GOODBYE)
        await successor.disconnect()


async def test_a_stopped_pod_leaves_its_call_to_another(livekit: LiveKitServer, pod: AgentPod) -> None:
    room = new_room()
    follower = await pod.assign(build_assignment(livekit, room))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said(GREETING)
        pod.signal(signal.SIGTERM)
        await until_ended(pod, follower, EndReason.SHUTDOWN)
        assert "agent" in customer.room.remote_participants, "it left the room: clients hang up at that"
        assert not customer.agent_said(GOODBYE)


async def test_the_operators_reason_is_kept(livekit: LiveKitServer, pod: AgentPod) -> None:
    follower = await pod.assign(build_assignment(livekit, new_room()))
    await follower.wait_for(Joined)
    await pod.end(EndRequest(reason=EndReason.ROOM_CLOSED, message="the room is gone"))
    assert (await until_ended(pod, follower, EndReason.ROOM_CLOSED)).message == "the room is gone"


async def test_a_token_that_has_expired(livekit: LiveKitServer, pod: AgentPod) -> None:
    room = new_room()
    token = livekit.agent_token(room, timedelta(seconds=-60))
    follower = await pod.assign(build_assignment(livekit, room, room_token=token))
    ended = await until_ended(pod, follower, EndReason.ERROR)
    assert "LiveKit refused the agent" in ended.message
    assert token not in pod.log


async def apology_heard(customer: Customer) -> None:
    """Waits until the customer has been told and has heard that something is wrong."""
    await customer.until(lambda: any(topic == "voice-agent" for topic, _ in customer.heard.messages), 20, "a message")
    (message,) = [json.loads(body) for topic, body in customer.heard.messages if topic == "voice-agent"]
    assert message == {"type": "error", "reason": "error", "message": APOLOGY}
    await until_audible(customer)


async def test_a_wrong_key_is_apologized_for(livekit: LiveKitServer, fake: FakeOpenAI) -> None:
    fake.required_key = RIGHT_KEY
    wrong = "sk-a-wrong-key-4711"
    room = new_room()
    async with running_pod([build_provider(fake.base_url)], keys={"fake": wrong}) as pod:
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await apology_heard(customer)
            ended = await until_ended(pod, follower, EndReason.ERROR)
        assert ended.message == "provider 'fake' answered 401 to a text-to-speech request"
        assert pod.termination().message == ended.message
        assert wrong not in pod.log


async def test_the_right_key_is_read_from_its_file_at_the_call(livekit: LiveKitServer, fake: FakeOpenAI) -> None:
    fake.required_key = RIGHT_KEY
    room = new_room()
    async with running_pod([build_provider(fake.base_url)], keys={"fake": "an-older-key"}) as pod:
        (pod.folder / "keys" / "fake" / "api-key").write_text(RIGHT_KEY)
        await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(GREETING)


async def test_a_chat_that_is_refused_is_apologized_for_in_the_agents_voice(
    livekit: LiveKitServer, fake: FakeOpenAI, pod: AgentPod
) -> None:
    fake.statuses["chat"] = 403
    room = new_room()
    follower = await pod.assign(build_assignment(livekit, room))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said(GREETING)
        customer.heard.frames.clear()
        await customer.type("are you there?")
        await apology_heard(customer)
        ended = await until_ended(pod, follower, EndReason.ERROR)
    assert ended.message == "provider 'fake' answered 403 to a chat request"
    assert fake.spoken == [GREETING, APOLOGY]
    assert "are you there" not in pod.log


async def test_a_chat_that_keeps_failing_ends_the_call(livekit: LiveKitServer, fake: FakeOpenAI, pod: AgentPod) -> None:
    fake.statuses["chat"] = 500
    room = new_room()
    follower = await pod.assign(build_assignment(livekit, room))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said(GREETING)
        await customer.type("one")
        await customer.until(lambda: len(fake.chats) == 3, 20, "three tries")
        await customer.until_said(AgentProfileSpec().trouble.apology)
        await stays(lambda: not follower.all_of(CallEnded), 1, "one answer that failed ended the call")
        await customer.type("two")
        await apology_heard(customer)
        ended = await until_ended(pod, follower, EndReason.ERROR)
    assert ended.message == "provider 'fake' answered 500 to a chat request"


async def test_a_customer_who_waits_is_told_so_before_the_answer(
    livekit: LiveKitServer, fake: FakeOpenAI, pod: AgentPod
) -> None:
    moment = "One moment, please."
    await pod.prepare(Preparation(greetings=[Greeting(provider="fake", text=moment)]))
    await eventually(lambda: len(fake.spoken) == 2)
    room = new_room()
    profile = AgentProfileSpec.model_validate({"greeting": GREETING, "trouble": {"moment": moment}})
    await pod.assign(build_assignment(livekit, room, profile=profile))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said(GREETING)
        await customer.until(lambda: customer.agent_state == "listening", 20, "the greeting's end")
        customer.heard.frames.clear()
        fake.stalls.add("chat")
        await customer.type("are you there?")
        await until_audible(customer)
        assert not customer.agent_said("You said"), "it was the answer that was heard"
        fake.stalls.clear()
        await customer.until_said("You said: are you there?.")


async def test_a_realtime_model(livekit: LiveKitServer, fake: FakeOpenAI) -> None:
    room = new_room()
    provider = Provider(
        name="fake", realtime=RealtimeModel(base_url=fake.base_url, model="gpt-realtime", voice="marin")
    )
    async with running_pod([provider], keys={"fake": RIGHT_KEY}) as pod:
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(RealtimeConversation.ANSWER)
            await until_audible(customer)
            greeting = next(event for event in fake.realtime_events if event["type"] == "response.create")
            assert GREETING in greeting["response"]["instructions"]
            await customer.type("good morning")
            await customer.until(lambda: len(customer.heard.transcripts) >= 2, 20, "a second answer")
        await until_ended(pod, follower, EndReason.PARTICIPANT_LEFT)
    session = next(event["session"] for event in fake.realtime_events if event["type"] == "session.update")
    assert session["model"] == "gpt-realtime"
    assert session["audio"]["output"]["voice"] == "marin"


async def test_a_refused_realtime_model(livekit: LiveKitServer, fake: FakeOpenAI) -> None:
    fake.required_key = RIGHT_KEY
    room = new_room()
    provider = Provider(name="fake", realtime=RealtimeModel(base_url=fake.base_url, model="gpt-realtime"))
    async with running_pod([provider], keys={"fake": "sk-wrong-4711"}) as pod:
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await apology_heard(customer)
            ended = await until_ended(pod, follower, EndReason.ERROR)
        assert "provider 'fake'" in ended.message
        assert "realtime" in ended.message
        assert "sk-wrong-4711" not in pod.log
