"""Spoken calls whose model servers answer each question in another odd way: what customers hear of it, and when."""

import json
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from testing import odd_chats, odd_speech, odd_transcripts
from testing.agent_pod import AgentPod, Follower, build_assignment, running_pod
from testing.customer import Customer, CustomerError, HeardFrame, joined_room, reversed_until
from testing.fake_openai import FakeOpenAI, running_fake_openai
from testing.livekit import LiveKitServer, new_room
from testing.local_speech import speech_pcm
from testing.odd_server import Reply
from testing.sound import AUDIBLE_RMS
from testing.waiting import eventually
from voicesession.assignment import CallEnded, Greeting, Preparation
from voicesession.models import AgentProfileSpec, LlmModel, Provider, SttModel, TtsModel
from voicesession.names import AGENT_IDENTITY
from voicesession.one_moment import choose_moment

# Far more than it may take.
PATIENCE_SECONDS = 30.0
# What is said; what the models hear in it, they are told by the word.
QUESTION = "Are you still there?"
ODD_QUESTION, PLAIN_QUESTION = "a table for two", "are you still there"
PROFILE = AgentProfileSpec(greeting="Hello there.")
# News of the agent's state may come later than its sound.
_EARLIER_SECONDS = 0.3
CODE = """
from livekit.agents import Agent, function_tool

class Booker(Agent):
    def __init__(self): super().__init__(instructions="You book tables.")

    @function_tool
    async def book(self, day: str) -> str:
        "Books a table."
        return day

    @function_tool
    async def cancel(self) -> str:
        "Cancels."
        return "cancelled"
"""


@dataclass(frozen=True)
class Oddity:
    """What a server does when it is asked once. `says`: how the right answer begins, "" where none can be given.

    calls: the tools that are called before it.
    """

    part: Literal["chat", "speech", "transcriptions"]
    name: str
    replies: Sequence[Reply]
    says: str
    calls: list[tuple[str, Any]] = field(default_factory=list)


class Result(StrEnum):
    """What became of a question."""

    RIGHT = "right"
    NAMED = "named failure"
    WRONG = "neither"


@dataclass(frozen=True)
class Outcome:
    """What came of an oddity. Seconds, from the customer's last word.

    seconds: to the first sound of the right answer, or of the apology. silence: the longest until then.
    is_told: the customer was told before that it takes a moment.
    """

    oddity: Oddity
    result: Result
    detail: str
    seconds: float
    silence: float
    is_told: bool


def list_oddities() -> list[Oddity]:
    """Returns all that a customer waits for: of what is nothing to hear, nothing comes."""
    chats = [Oddity("chat", odd.name, odd.replies, _what_chat_says(odd), odd.calls) for odd in odd_chats.ODDITIES]
    echo = f"You said: {ODD_QUESTION}."
    speech = [Oddity("speech", odd.name, odd.replies, "" if odd.failure else echo) for odd in odd_speech.ODDITIES]
    transcripts = [
        Oddity("transcriptions", odd.name, odd.replies, "" if odd.failure else f"You said: {odd.text}.")
        for odd in odd_transcripts.ODDITIES
        if odd.text or odd.failure
    ]
    return [*chats, *speech, *transcripts]


def _what_chat_says(odd: odd_chats.Odd) -> str:
    if odd.failure:
        return ""
    return "The tool says: " if odd.calls else odd.words


class OddCall:
    """One call, until it is over or its agent does not answer a plain question any more."""

    def __init__(self, fake: FakeOpenAI, pod: AgentPod, follower: Follower, customer: Customer) -> None:
        """`fake`: all of its models."""
        self._fake = fake
        self._pod = pod
        self._follower = follower
        self._customer = customer
        self._question = speech_pcm(QUESTION)
        self._is_spent = False
        self._told_before = 0

    @property
    def is_over(self) -> bool:
        """Whether no more can be asked in it."""
        return self._is_spent or self._has_ended

    @property
    def _has_ended(self) -> bool:
        return bool(self._follower.all_of(CallEnded))

    async def meet(self, oddity: Oddity) -> Outcome:
        """Asks while the server is odd, and then until the agent answers as ever, so that it has failed once only."""
        self._told_before = len(self._failures())
        self._fake.odd[oddity.part] = list(oddity.replies)
        asked_at, detail, result = await self._ask(ODD_QUESTION), "", Result.WRONG
        try:
            await self._customer.until(lambda: self._find_result(oddity, asked_at), PATIENCE_SECONDS, "an answer")
            result = self._find_result(oddity, asked_at) or result
        except CustomerError as error:
            detail = str(error)
        finally:
            self._fake.odd.clear()
            self._fake.transcripts.clear()
        if result is Result.NAMED:
            detail = "; ".join(self._failures()[self._told_before :])
            result = result if detail else Result.WRONG
        elif result is Result.WRONG:
            detail = detail or f"the tools {self._called()}"
        outcome = self._look_back(oddity, result, detail, asked_at)
        await self._settle(asked_at, result)
        return outcome

    async def ask_plainly(self) -> None:
        """Asks while the servers are as they should be.

        Raises:
            CustomerError: it is not answered.
        """
        asked_at = await self._ask(PLAIN_QUESTION)
        await self._customer.until_said(f"You said: {PLAIN_QUESTION}.", PATIENCE_SECONDS)
        await self._customer.answer(asked_at)

    async def _ask(self, heard: str) -> float:
        """Says the question, in which speech-to-text hears this; returns when the last word was said."""
        self._customer.heard.transcripts.clear()
        self._fake.chats.clear()
        self._fake.transcripts.clear()
        self._fake.transcripts.append(heard)
        return await self._customer.say(self._question)

    def _find_result(self, oddity: Oddity, asked_at: float) -> Result | None:
        said = [each.text for each in self._customer.heard.transcripts if each.identity == AGENT_IDENTITY]
        if self._has_ended or PROFILE.trouble.apology in said or self._has_apologized_aloud(asked_at):
            return Result.NAMED
        if oddity.says and any(text.startswith(oddity.says) for text in said):
            return Result.RIGHT if has_called(self._called(), oddity.calls) else Result.WRONG
        return None

    def _has_apologized_aloud(self, asked_at: float) -> bool:
        """Tells whether something was said after a failure; of a voice that fails at once, its text may be missing."""
        spoke = any(at > asked_at for at in self._customer.heard.speaks_since)
        return spoke and self._customer.answer_is_over() and len(self._failures()) > self._told_before

    def _called(self) -> list[tuple[str, Any]]:
        """Returns the tools that were called since the question, as the model is told of them."""
        messages = self._fake.chats[-1]["messages"] if self._fake.chats else []
        since = next((at for at, each in reversed(list(enumerate(messages))) if each["role"] == "user"), 0)
        calls = [call["function"] for message in messages[since:] for call in message.get("tool_calls") or []]
        return [(call["name"], _read_arguments(call["arguments"])) for call in calls]

    def _failures(self) -> list[str]:
        return [line["detail"] for line in self._pod.lines if line.get("message") == "a model failed"]

    def _look_back(self, oddity: Oddity, result: Result, detail: str, asked_at: float) -> Outcome:
        speaks = [at - _EARLIER_SECONDS for at in self._customer.heard.speaks_since if at > asked_at] or [asked_at]
        begun_at = max(asked_at, speaks[0] if result is Result.RIGHT else speaks[-1])
        heard_at = self._customer.heard.audible_after(begun_at) or time.monotonic()
        frames = [frame for frame in reversed_until(self._customer.heard.frames, asked_at) if frame.at <= heard_at]
        is_told = any(frame.rms >= AUDIBLE_RMS for frame in frames if frame.at < begun_at)
        silence = longest_silence(frames, asked_at, heard_at)
        return Outcome(oddity, result, detail, heard_at - asked_at, silence, is_told)

    async def _settle(self, asked_at: float, result: Result) -> None:
        try:
            if not self._has_ended:
                await self._customer.answer(asked_at)
            if not self._has_ended and result is not Result.RIGHT:
                await self.ask_plainly()
        except CustomerError:
            self._is_spent = True


def has_called(called: list[tuple[str, Any]], wanted: list[tuple[str, Any]]) -> bool:
    """Tells whether these are the calls of tools that were meant; arguments that are no JSON may be mended."""
    return [name for name, _ in called] == [name for name, _ in wanted] and all(
        given == meant or isinstance(meant, str) for (_, given), (_, meant) in zip(called, wanted, strict=True)
    )


def longest_silence(frames: Sequence[HeardFrame], since: float, until: float) -> float:
    """Returns the longest time between two sounds, from one moment to another, in seconds."""
    last, longest = since, 0.0
    for frame in frames:
        if frame.rms >= AUDIBLE_RMS:
            longest, last = max(longest, frame.at - last), frame.at
    return max(longest, until - last)


def build_default_provider(name: str, chat: FakeOpenAI, others: FakeOpenAI, **fields: Any) -> Provider:
    """Returns a provider whose servers have as long as they have by default."""
    return Provider(
        name=name,
        stt=SttModel(base_url=others.base_url, model="whisper"),
        llm=LlmModel(base_url=chat.base_url, model="chat"),
        tts=TtsModel(base_url=others.base_url, model="speech"),
        **fields,
    )


@asynccontextmanager
async def greeted_call(
    livekit: LiveKitServer, pod: AgentPod, provider: Provider, voices: FakeOpenAI, **fields: Any
) -> AsyncIterator[tuple[Follower, Customer]]:
    """Yields a call of this waiting pod's, with a profile's own words, which the pod has prepared by `voices`."""
    texts = [PROFILE.greeting, PROFILE.recovery.apology, PROFILE.trouble.apology, choose_moment(PROFILE)]
    await pod.prepare(Preparation(greetings=[Greeting(provider=provider.name, text=text) for text in texts]))
    # One after the other, and after these an apology.
    await eventually(lambda: len(voices.spoken) > len(texts))
    room = new_room()
    assignment = build_assignment(livekit, room, provider=provider.name, **fields)
    follower = await pod.assign(assignment.model_copy(update={"profile": PROFILE}))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        began = time.monotonic()
        await customer.until_said(PROFILE.greeting)
        await customer.answer(began)
        yield follower, customer


@asynccontextmanager
async def odd_call(livekit: LiveKitServer) -> AsyncIterator[OddCall]:
    """Yields a call in an agent process of its own, in which a plain question has been answered."""
    with tempfile.TemporaryDirectory(prefix="bench-oddities-") as folder:
        (Path(folder) / "booker.py").write_text(CODE)
        async with running_fake_openai() as fake:
            provider = build_default_provider("fake", fake, fake)
            async with (
                running_pod([provider], shows_log=False, AGENT_CODE="booker:Booker", WORKING_FOLDER=folder) as pod,
                greeted_call(livekit, pod, provider, fake) as (follower, customer),
            ):
                call = OddCall(fake, pod, follower, customer)
                await call.ask_plainly()
                yield call


def _read_arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
