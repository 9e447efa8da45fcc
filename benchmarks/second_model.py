"""Calls whose chat model stalls and has another one behind it: how soon that answers, and who begins the next call."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from benchmarks.odd_calls import PATIENCE_SECONDS, QUESTION, build_default_provider, greeted_call
from testing.agent_pod import running_pod
from testing.customer import Customer
from testing.fake_openai import FakeOpenAI, running_fake_openai
from testing.livekit import LiveKitServer
from testing.local_speech import speech_pcm
from voicesession.assignment import FailingModel, ModelFailed

FIRST, SECOND = "first", "second"
HEARD = "a table for two"


@dataclass(frozen=True)
class Fallback:
    """Seconds from the customer's last word to the second model's answer, and whether the next call begins with it."""

    seconds: float
    next_seconds: float
    next_began_there: bool


async def fall_back(livekit: LiveKitServer) -> Fallback:
    """Holds a call whose chat model stalls, and the next one of its pool, each in an agent process of its own."""
    async with AsyncExitStack() as stack:
        stalling, answering = [await stack.enter_async_context(running_fake_openai()) for _ in range(2)]
        stalling.stalls.add("chat")
        first = build_default_provider(FIRST, stalling, answering, fallback=SECOND)
        providers = [first, build_default_provider(SECOND, answering, answering)]
        failing: list[FailingModel] = []
        seconds, asked_before = list[float](), 0
        for _ in range(2):
            answering.spoken.clear()
            async with (
                running_pod(providers, shows_log=False) as pod,
                greeted_call(livekit, pod, first, answering, failing=failing) as (follower, customer),
            ):
                seconds.append(await ask(customer, answering))
                if not failing:
                    # As the operator hears it, and tells the pool's next calls.
                    failed = await follower.wait_for(ModelFailed)
                    failing = [FailingModel(provider=failed.provider, part=failed.part)]
                    asked_before = len(stalling.chats)
        return Fallback(seconds[0], seconds[1], next_began_there=len(stalling.chats) == asked_before)


async def ask(customer: Customer, ears: FakeOpenAI) -> float:
    """Asks once; returns the seconds from the last word to the answer's first sound."""
    ears.transcripts.append(HEARD)
    asked_at = await customer.say(speech_pcm(QUESTION))
    await customer.until_said(f"You said: {HEARD}.", PATIENCE_SECONDS)
    # What is said before is no answer: that it takes a moment.
    begun_at = next(at for at in customer.heard.speaks_since if at > asked_at)
    heard_at = await customer.until_audible(begun_at - 0.3, PATIENCE_SECONDS, "the answer")
    return heard_at - asked_at
