"""Providers of several hosts, asked by a real pod: who gets which key, and who is asked when one fails."""

from contextlib import AsyncExitStack
from typing import Any

from testing.agent_pod import AgentPod, Follower, build_assignment, build_provider, running_pod
from testing.customer import joined_room
from testing.fake_openai import FakeOpenAI, running_fake_openai
from testing.livekit import LiveKitServer, new_room
from testing.local_speech import speech_pcm
from voicesession.assignment import FailingModel, ModelFailed
from voicesession.models import Header, LlmModel, Provider, SecretRef, SttModel, TtsModel

GREETING = "Hello there."
KEYS = {"mixed": "sk-vendor-of-chat-1", "mixed.stt": "sk-vendor-of-ears-2", "mixed.tts": "sk-vendor-of-voices-3"}
HEADER_KEYS = {"mixed.tts.X-Api-Key": "a-second-key-of-the-voices-4"}


async def test_three_vendors_see_their_own_key_only(livekit: LiveKitServer) -> None:
    async with AsyncExitStack() as stack:
        ears, chat, voices = [await stack.enter_async_context(running_fake_openai()) for _ in range(3)]
        ears.required_key, chat.required_key, voices.required_key = KEYS["mixed.stt"], KEYS["mixed"], KEYS["mixed.tts"]
        ears.transcripts.append("a table for two")
        provider = Provider(
            name="mixed",
            stt=SttModel(base_url=ears.base_url, model="s", secret_ref=SecretRef(name="ears")),
            llm=LlmModel(base_url=chat.base_url, model="l"),
            tts=TtsModel(
                base_url=voices.base_url,
                model="t",
                secret_ref=SecretRef(name="voices"),
                headers=[Header(name="X-Api-Key", secret_ref=SecretRef(name="voices-2"))],
            ),
            secret_ref=SecretRef(name="chat"),
        )
        pod = await stack.enter_async_context(running_pod([provider], keys={**KEYS, **HEADER_KEYS}))
        room = new_room()
        await pod.assign(build_assignment(livekit, room, provider="mixed"))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(GREETING)
            await customer.say(speech_pcm("A table for two, please."))
            await customer.until_said("You said: a table for two.")
        seen = [keys_seen(ears), keys_seen(chat), keys_seen(voices)]
        assert seen == [{KEYS["mixed.stt"]}, {KEYS["mixed"]}, {KEYS["mixed.tts"], *HEADER_KEYS.values()}]
        assert not [key for key in (*KEYS.values(), *HEADER_KEYS.values()) if key in pod.log]


async def test_a_chat_that_stalls_is_answered_by_the_second_and_so_is_the_next_call(livekit: LiveKitServer) -> None:
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(running_fake_openai()) for _ in range(2)]
        first.stalls.add("chat")
        # Not with the patience that other tests have with a busy machine.
        chat = LlmModel(base_url=first.base_url, model="chat")
        stalling = build_provider(first.base_url, "first", fallback="second").model_copy(update={"llm": chat})
        providers = [stalling, build_provider(second.base_url, "second")]
        pods = [await stack.enter_async_context(running_pod(providers)) for _ in range(2)]
        follower = await hold_call(livekit, pods[0])
        failed = await follower.wait_for(ModelFailed)
        assert (failed.provider, failed.part) == ("first", "llm")
        assert (len(first.chats), len(second.chats)) == (1, 2)
        assert not second.spoken, "another voice, though the first one speaks"
        failing = [FailingModel(provider="first", part="llm")]
        await hold_call(livekit, pods[1], failing=failing)
        assert (len(first.chats), len(second.chats)) == (1, 4)


async def hold_call(livekit: LiveKitServer, pod: AgentPod, **fields: Any) -> Follower:
    """Has two questions answered in a call."""
    room = new_room()
    follower = await pod.assign(build_assignment(livekit, room, provider="first", **fields))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said(GREETING)
        for question in ("are you there", "and now"):
            await customer.type(question)
            await customer.until_said(f"You said: {question}.")
    return follower


def keys_seen(fake: FakeOpenAI) -> set[str]:
    """Returns which of the keys a host has been sent, in whatever header."""
    sent = str(fake.headers)
    return {key for key in (*KEYS.values(), *HEADER_KEYS.values()) if key in sent}
