"""Real agent sessions whose models are slow or fail: the customer hears something in time, and the right thing."""

import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, JobContext
from livekit.agents.voice import io
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.plugins import openai

from testing.odd_client import PATIENT, TRIES, PatientClient
from testing.odd_server import Reply, delta, one_json, running_odd_server, stream
from testing.sound import build_murmur
from testing.waiting import eventually, stays
from voice_agent import trouble_words
from voice_agent.answers.client import ModelClient, Patience
from voice_agent.apology import recorded_apology
from voice_agent.code_loader import AgentCode, EntrypointCode, LoadedCode, ProfileCode
from voice_agent.endings import CallFacts, Ending
from voice_agent.session_watch import SessionWatch
from voice_agent.trouble_words import TroubleWords, find_moment
from voicesession.models import AgentProfileSpec, EndReason, Provider
from voicesession.models import TroubleWords as TroubleTexts
from voicesession.one_moment import choose_moment

APOLOGY = "Say that again?"
MOMENT = "One moment."
PREPARED = b"\x10\x20" * 7200
ANSWER = build_murmur(0.4)
BROKEN = one_json({"error": {"message": "no"}}, 500)
SAYS_YES = stream(delta(content="Yes."), delta("stop"))
SPEAKS = Reply([ANSWER], "audio/pcm")
SILENT = Reply([], pauses_before_headers=True)


class Heard(io.AudioOutput):
    """Ears that need no room: a segment is heard at once."""

    def __init__(self) -> None:
        super().__init__(label="heard", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=24_000)
        self.pcm = b""
        self._pushed = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._pushed:
            self.on_playback_started(created_at=time.time())
        self.pcm += bytes(frame.data)
        self._pushed += frame.duration

    def flush(self) -> None:
        super().flush()
        self._finish(interrupted=False)

    def clear_buffer(self) -> None:
        self._finish(interrupted=True)

    def _finish(self, *, interrupted: bool) -> None:
        if self._pushed:
            pushed, self._pushed = self._pushed, 0.0
            self.on_playback_finished(playback_position=pushed, interrupted=interrupted)


class Talk:
    """A session with its watch and its words, and what came of it."""

    def __init__(
        self, url: Callable[[str], str], http: ModelClient, patience: Patience, prepared: Collection[str]
    ) -> None:
        self.endings: list[Ending] = []
        self.heard = Heard()
        self.session: AgentSession[None] = AgentSession(
            llm=openai.LLM(client=PatientClient(patience, base_url=url("chat"), http_client=http)),
            tts=openai.TTS(
                client=PatientClient(patience, base_url=url("speech"), http_client=http), response_format="pcm"
            ),
            vad=None,
            turn_handling={"turn_detection": "manual"},
            conn_options=SessionConnectOptions(
                llm_conn_options=TRIES, tts_conn_options=TRIES, max_unrecoverable_errors=1
            ),
        )
        self.session.output.audio = self.heard
        facts = CallFacts()
        self.words = TroubleWords(
            facts=facts,
            moment=MOMENT,
            apology=APOLOGY,
            find_spoken=lambda text: PREPARED if text in prepared else None,
            speak=self.speak,
            is_hearing=lambda: http.is_hearing,
        )
        watch = SessionWatch(
            provider="acme",
            facts=facts,
            on_activity=lambda: None,
            on_end=self.endings.append,
            on_failed_turn=lambda kind: self.words.apologize(
                voice_failed=kind == "tts_error", at_once=kind == "stt_error"
            ),
            is_apologizing=lambda: self.words.is_apologizing,
        )
        watch.attach(self.session)
        self.words.attach(self.session)

    async def speak(self, text: str) -> bytes:
        voice = self.session.tts
        assert voice is not None
        return bytes((await voice.synthesize(text).collect()).data)

    def say(self, text: str) -> None:
        self.session.generate_reply(user_input=text)

    def hears(self, *sounds: bytes) -> Callable[[], bool]:
        """Of each sound its beginning is enough: the last frame is filled up."""
        return lambda: [each[:2000] for each in sounds] == [each[:2000] for each in split(self.heard.pcm, sounds)]


def split(pcm: bytes, sounds: tuple[bytes, ...]) -> list[bytes]:
    found: list[bytes] = []
    place = 0
    for sound in sounds:
        place = pcm.find(sound[:2000], place)
        if place < 0:
            return found
        found.append(pcm[place : place + len(sound)])
        place += len(sound)
    return found


@asynccontextmanager
async def talking(
    chat: list[Reply],
    speech: list[Reply],
    patience: Patience = PATIENT,
    *,
    prepared: Collection[str] = (APOLOGY, MOMENT),
) -> AsyncIterator[Talk]:
    async with running_odd_server({"chat": chat, "speech": speech}) as server, ModelClient() as http:
        talk = Talk(server.url, http, patience, prepared)
        await talk.session.start(Agent(instructions="x"))
        try:
            yield talk
        finally:
            talk.words.stop()
            await talk.session.aclose()


async def test_an_answer_is_no_trouble() -> None:
    async with talking([SAYS_YES], [SPEAKS]) as talk:
        talk.say("Hello?")
        await eventually(talk.hears(ANSWER))
        await stays(lambda: PREPARED[:2000] not in talk.heard.pcm, 0.3, "an apology was said for nothing")


async def test_the_first_turn_that_fails_is_apologized_for_the_second_ends_the_call() -> None:
    async with talking([one_json({"error": "busy"})], [SPEAKS]) as talk:
        talk.say("Hello?")
        await eventually(talk.hears(PREPARED))
        assert talk.endings == []
        await eventually(lambda: not talk.words.is_apologizing)
        talk.say("Hello again?")
        await eventually(lambda: bool(talk.endings))
        detail = "provider 'acme' answered a chat request with an error in a success"
        assert talk.endings[0] == Ending(EndReason.ERROR, detail)


async def test_after_an_apology_the_call_goes_on() -> None:
    async with talking([BROKEN, BROKEN, BROKEN, SAYS_YES], [SPEAKS]) as talk:
        talk.say("Hello?")
        await eventually(talk.hears(PREPARED))
        await eventually(lambda: not talk.words.is_apologizing)
        talk.say("Hello again?")
        await eventually(talk.hears(PREPARED, ANSWER))
        assert talk.endings == []


async def test_a_voice_that_fails_apologizes_by_what_is_prepared_or_recorded() -> None:
    async with talking([SAYS_YES], [BROKEN]) as talk:
        talk.say("Hello?")
        await eventually(talk.hears(PREPARED))
    async with talking([SAYS_YES], [BROKEN], prepared=()) as talk:
        talk.say("Hello?")
        await eventually(talk.hears(recorded_apology()))


async def test_a_stall_is_apologized_for() -> None:
    async with talking([SILENT], [SPEAKS], Patience(answer=0.5)) as talk:
        talk.say("Hello?")
        await eventually(talk.hears(PREPARED))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was said ahead of the agent's words, which needs a room; and moments that are short."""
    heard: list[bytes] = []

    async def say_ahead(session: AgentSession[Any], pcm: bytes) -> None:
        heard.append(pcm)

    monkeypatch.setattr(trouble_words, "MOMENT_SECONDS", 0.01)
    monkeypatch.setattr(trouble_words, "say_ahead", say_ahead)
    return heard


async def test_who_waits_is_told_so_three_times(said: list[bytes]) -> None:
    async with talking([SILENT], [SPEAKS]) as talk:
        talk.say("Hello?")
        await eventually(lambda: len(said) == 3)
        await stays(lambda: len(said) == 3, 0.3, "the customer was told again and again")


async def test_nothing_is_said_to_who_does_not_wait(said: list[bytes]) -> None:
    async with talking([SAYS_YES], [SPEAKS]) as talk:
        talk.session._update_user_state("speaking")
        talk.session._update_user_state("listening")  # a cough
        await stays(lambda: not said, 0.3, "somebody who coughed was told to wait")


async def test_words_that_nobody_has_prepared_are_spoken_when_they_are_needed(said: list[bytes]) -> None:
    async with talking([SILENT], [SPEAKS], prepared=()) as talk:
        talk.say("Hello?")
        await eventually(lambda: len(said) == 3)
    assert {pcm[:2000] for pcm in said} == {ANSWER[:2000]}


async def test_words_that_cannot_be_spoken_are_left_out(
    said: list[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trouble_words, "SPEAK_SECONDS", 0.01)
    async with talking([SILENT], [SILENT], prepared=()) as talk:
        talk.say("Hello?")
        await eventually(lambda: "a moment could not be spoken" in caplog.text)
        assert (said, talk.endings) == ([], [])


async def run(_: JobContext) -> None:
    raise AssertionError("nobody runs it")


SPEAKING = Provider.model_validate({"name": "acme", "tts": {"model": "t"}})
DEFAULT = choose_moment(AgentProfileSpec())


@pytest.mark.parametrize(
    ("given", "code", "moment"),
    [
        (None, ProfileCode(), DEFAULT),
        (None, AgentCode(Agent, takes_instructions=True), DEFAULT),
        (None, EntrypointCode(run), ""),
        ("Just a second.", EntrypointCode(run), "Just a second."),
        ("", ProfileCode(), ""),
    ],
)
def test_which_words_are_said_to_who_waits(given: str | None, code: LoadedCode, moment: str) -> None:
    profile = AgentProfileSpec(trouble=TroubleTexts(moment=given))
    assert find_moment(profile, SPEAKING, code) == moment


def test_a_provider_without_a_voice_of_its_own_says_nothing_ahead() -> None:
    realtime = Provider.model_validate({"name": "acme", "realtime": {"model": "r", "voice": "v"}})
    assert find_moment(AgentProfileSpec(), realtime, ProfileCode()) == ""
