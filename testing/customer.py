"""A scripted customer: speaks recorded sentences into a LiveKit room, and notes what the agent does and says."""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field

from livekit import rtc

from testing.sound import AUDIBLE_RMS, FRAME_BYTES, FRAME_SAMPLES, SAMPLE_RATE, rms, silence_after
from testing.tasks import Tasks
from voicesession.names import AGENT_IDENTITY

# Read by LiveKit's native library when it is first used. With more threads a customer on a busy machine may stay deaf
# and mute: agent_image/voice_agent/__main__.py says why.
os.environ.setdefault("TOKIO_WORKER_THREADS", "1")

# Speech has pauses between words and sentences; only a longer silence is the end of an answer.
ANSWER_OVER_SECONDS = 0.9


class CustomerError(Exception):
    """What the customer waited for did not happen in time."""


@dataclass(frozen=True)
class HeardFrame:
    """10 ms of the agent's audio: when it arrived (monotonic seconds) and how loud it was (RMS of 32767)."""

    at: float
    rms: float


@dataclass(frozen=True)
class Transcribed:
    """A final transcription segment: whose words they are, what they are, when they came (monotonic seconds)."""

    identity: str
    text: str
    at: float


@dataclass
class Heard:
    """Everything that reached the customer."""

    frames: list[HeardFrame] = field(default_factory=list)
    pcm: bytearray = field(default_factory=bytearray)
    transcripts: list[Transcribed] = field(default_factory=list)
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    agent_joins: dict[str, float] = field(default_factory=dict)  # by sid: each agent's, one after the other
    speaks_since: list[float] = field(default_factory=list)  # when the agent's state became "speaking"
    disconnected: str | None = None

    @property
    def agent_joined_at(self) -> float | None:
        """When the first agent was there, or None."""
        return min(self.agent_joins.values(), default=None)

    def audible_after(self, moment: float) -> float | None:
        """Returns when the first audible frame after `moment` came, or None."""
        for frame in reversed_until(self.frames, moment):
            if frame.rms >= AUDIBLE_RMS:
                return frame.at
        return None

    def audible_seconds(self) -> float:
        """Returns how much of the agent was audible."""
        return sum(frame.rms >= AUDIBLE_RMS for frame in self.frames) * FRAME_SAMPLES / SAMPLE_RATE

    def last_audible(self) -> float | None:
        """Returns when the newest audible frame came, or None."""
        return next((frame.at for frame in reversed(self.frames) if frame.rms >= AUDIBLE_RMS), None)


def reversed_until(frames: list[HeardFrame], moment: float) -> list[HeardFrame]:
    """Returns the frames after `moment`, oldest first, without walking through the older ones."""
    start = len(frames)
    while start > 0 and frames[start - 1].at > moment:
        start -= 1
    return frames[start:]


class Customer:
    """One participant with a microphone. Use `joined_room`."""

    def __init__(self, room: rtc.Room) -> None:
        """Takes a room that is not connected yet."""
        self.room = room
        self.heard = Heard()
        self.connect_began_at = 0.0
        self.connected_at = 0.0
        self._source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=60)
        self._speech: deque[bytes] = deque()
        self._spoken = asyncio.Event()
        self._spoken_at = 0.0
        self._changed = asyncio.Event()
        self._tasks = Tasks()

    @property
    def agent_state(self) -> str | None:
        """The agent's `lk.agent.state`, or None while it is not in the room."""
        agent = self.room.remote_participants.get(AGENT_IDENTITY)
        return agent.attributes.get("lk.agent.state") if agent else None

    def agent_said(self, text: str) -> bool:
        """Tells whether the agent has said exactly this, as its transcription tells."""
        return any(said.identity == AGENT_IDENTITY and said.text == text for said in self.heard.transcripts)

    async def connect(self, server_url: str, token: str, *, listens: bool = True) -> None:
        """Connects and publishes the microphone. Who does not listen takes text alone, as a chat's window does.

        Raises:
            livekit.rtc.ConnectError: the server refused.
        """
        self._listen_to_room()
        self.connect_began_at = time.monotonic()
        await self.room.connect(server_url, token, rtc.RoomOptions(auto_subscribe=listens))
        self.connected_at = time.monotonic()
        if agent := self.room.remote_participants.get(AGENT_IDENTITY):
            self.heard.agent_joins.setdefault(agent.sid, self.connected_at)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self._source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self.room.local_participant.publish_track(track, options)
        self._tasks.start(self._microphone())

    async def close(self) -> None:
        """Leaves the room, as a customer who hangs up."""
        await self._tasks.cancel()
        # Closing the process with an open source can abort in the native library.
        await self._source.aclose()
        await self.room.disconnect()

    async def say(self, pcm: bytes, timeout: float = 60.0) -> float:
        """Speaks 24 kHz mono 16-bit samples in real time; returns when the last audible one left (monotonic seconds).

        Speech ends where its sound does: recordings end in silence, and who waits for an answer waits through it.
        """
        self._spoken.clear()
        for start in range(0, len(pcm), FRAME_BYTES):
            self._speech.append(pcm[start : start + FRAME_BYTES].ljust(FRAME_BYTES, b"\0"))
        async with asyncio.timeout(timeout):
            await self._spoken.wait()
        return self._spoken_at - silence_after(pcm)

    async def ask(self, pcm: bytes, timeout: float = 30.0) -> float:
        """Speaks, and waits for the whole answer, which has `timeout` seconds to begin and as long to end.

        Returns the seconds from the end of speech to the first audible answer; less than 0 where the agent did not
        wait for the end.
        """
        began = time.monotonic()
        spoken = await self.say(pcm)
        await self.answer(spoken, timeout)
        return (self.heard.audible_after(began) or spoken) - spoken

    async def type(self, text: str) -> None:
        """Sends a typed message as LiveKit's components do."""
        await self.room.local_participant.send_text(text, topic="lk.chat")

    async def type_until_said(self, text: str, answer: str, timeout: float = 20.0) -> None:
        """Types it again and again until the agent has said exactly this.

        For who has just come in: LiveKit tells an agent of a participant, who does not speak yet, up to 3 s late, and
        what they type until then is not taken. Not too often: what is typed interrupts the answer.
        """
        async with asyncio.timeout(timeout):
            while not self.agent_said(answer):
                await self.type(text)
                with contextlib.suppress(CustomerError):
                    await self.until_said(answer, 4.0)

    async def type_without_end(self, text: str) -> None:
        """Sends it a hundred times a second until cancelled."""
        while True:
            await self.type(text)
            await asyncio.sleep(0.01)  # noqa: TID251 - its pace

    async def until(self, condition: Callable[[], object], timeout: float, what: str) -> None:
        """Waits until `condition` holds.

        Raises:
            CustomerError: not within `timeout` seconds; the message names `what`.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                state = f"agent state {self.agent_state!r}, disconnected: {self.heard.disconnected}"
                raise CustomerError(f"waited {timeout:.0f} s for {what} ({state})")
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, 0.1)):
                    await self._changed.wait()

    async def until_said(self, text: str, timeout: float = 20.0) -> None:
        """Waits until the agent has said exactly this."""
        await self.until(lambda: self.agent_said(text), timeout, f"the words {text!r}")

    async def until_successor(self, known: Collection[str], timeout: float) -> float:
        """Waits for an agent that is none of the `known` (sids); returns when it came."""
        await self.until(lambda: self.heard.agent_joins.keys() - known, timeout, "another agent")
        return min(at for sid, at in self.heard.agent_joins.items() if sid not in known)

    async def until_answered(self, words: str, tries: int = 5) -> None:
        """Types words until the agent repeats them aloud: what is typed while one of the two is out, nobody hears.

        Raises:
            CustomerError: it does not, within some seconds for each try.
        """
        await self.until(lambda: self.agent_state is not None, 20, "an agent that says how it is")
        for number in range(tries):
            said, began = f"{words} {number}", time.monotonic()
            await self.type(said)
            with contextlib.suppress(CustomerError):
                await self.until_said(f"You said: {said}.", 5)
                await self.until_audible(began, 5, "the answer")
                return
        raise CustomerError(f"the agent did not answer {tries} times")

    async def until_audible(self, after: float, timeout: float, what: str) -> float:
        """Waits for the agent's first sound after a moment; returns when it came."""
        await self.until(lambda: self.heard.audible_after(after) is not None, timeout, what)
        first = self.heard.audible_after(after)
        if first is None:
            raise CustomerError(f"the audio of {what} vanished")
        return first

    async def answer(self, after: float, timeout: float = 30.0) -> float:
        """Waits for a whole answer to what was said until `after`; returns when its first sound was heard."""
        first = await self.until_audible(after, timeout, "an audible answer")
        await self.until(self.answer_is_over, timeout, "the answer's end")
        return first

    def answer_is_over(self) -> bool:
        """Tells whether the agent has been silent for longer than speech is, and is at nothing."""
        last = self.heard.last_audible()
        quiet = last is None or time.monotonic() - last > ANSWER_OVER_SECONDS
        return quiet and self.agent_state not in {"speaking", "thinking"}

    def _listen_to_room(self) -> None:
        self.room.on("participant_connected", self._on_participant)
        self.room.on("track_subscribed", self._on_track)
        self.room.on("data_received", self._on_data)
        self.room.on("disconnected", self._on_disconnected)
        self.room.on("participant_attributes_changed", self._on_attributes)
        self.room.register_text_stream_handler("lk.transcription", self._on_transcription)

    def _on_participant(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity == AGENT_IDENTITY:
            self.heard.agent_joins.setdefault(participant.sid, time.monotonic())
        self._changed.set()

    def _on_attributes(self, changed: dict[str, str], participant: rtc.Participant) -> None:
        if participant.identity == AGENT_IDENTITY and changed.get("lk.agent.state") == "speaking":
            self.heard.speaks_since.append(time.monotonic())
        self._changed.set()

    def _on_track(
        self, track: rtc.RemoteTrack, _publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        if participant.identity == AGENT_IDENTITY and track.kind == rtc.TrackKind.KIND_AUDIO:
            self._tasks.start(self._record(track))

    def _on_data(self, packet: rtc.DataPacket) -> None:
        self.heard.messages.append((packet.topic or "", packet.data))
        self._changed.set()

    def _on_disconnected(self, reason: object) -> None:
        self.heard.disconnected = str(reason)
        self._changed.set()

    def _on_transcription(self, reader: rtc.TextStreamReader, identity: str) -> None:
        self._tasks.start(self._read_transcription(reader, identity))

    async def _read_transcription(self, reader: rtc.TextStreamReader, identity: str) -> None:
        try:
            text = await reader.read_all()
        except rtc.StreamError:
            return  # whoever spoke has gone in the middle of it
        if (reader.info.attributes or {}).get("lk.transcription_final", "true") == "true":
            self.heard.transcripts.append(Transcribed(identity, text, time.monotonic()))
            self._changed.set()

    async def _record(self, track: rtc.RemoteTrack) -> None:
        stream = rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1)
        try:
            async for event in stream:
                pcm = bytes(event.frame.data)
                self.heard.pcm += pcm
                self.heard.frames.append(HeardFrame(time.monotonic(), rms(pcm)))
                self._changed.set()
        finally:
            await stream.aclose()

    async def _microphone(self) -> None:
        silence = bytes(FRAME_BYTES)
        while True:
            speaking = bool(self._speech)
            pcm = self._speech.popleft() if speaking else silence
            await self._source.capture_frame(rtc.AudioFrame(pcm, SAMPLE_RATE, 1, FRAME_SAMPLES))
            if speaking and not self._speech:
                self._spoken_at = time.monotonic() + self._source.queued_duration
                self._spoken.set()


@contextlib.asynccontextmanager
async def joined_room(server_url: str, token: str, *, listens: bool = True) -> AsyncIterator[Customer]:
    """Yields a customer in the room that `token` is for; hangs up at the end. `listens`: as in `connect`."""
    customer = Customer(rtc.Room())
    try:
        await customer.connect(server_url, token, listens=listens)
        yield customer
    finally:
        await customer.close()
