"""A scripted agent: joins a room as the agent pods do, and does what its parent writes to its standard input.

Runs as a process of its own, so that a test can kill it as a crash would. Commands and reports are JSON, one a line:

    {"do": "join", "url": "ws://…", "token": "…"}  always the first
    {"do": "state", "value": "listening"}        sets lk.agent.state
    {"do": "say", "text": "…", "seconds": 1.5}   speaks tones, its words streamed as transcription beside them
    {"do": "mumble", "text": "…"}                as `say`, but neither sound nor words ever end
    {"do": "hear", "interim": ["…"], "text": "…"}  transcribes the customer: interim texts, then the final one
    {"do": "leave"}                              leaves the room cleanly and exits

It reports `ready` (imported, waiting), `joined`, `chat` (a typed message) and `heard` (the customer became audible, or
fell silent).
"""

import asyncio
import json
import secrets
import sys
from typing import Any

from livekit import rtc

from testing.sound import AUDIBLE_RMS, SAMPLE_RATE, build_murmur, rms
from testing.tasks import Tasks

FRAME_SECONDS = 0.02
FRAME_SAMPLES = int(SAMPLE_RATE * FRAME_SECONDS)
STATE_ATTRIBUTE = "lk.agent.state"
# Silence between two sounds of the customer that is still the same sound.
SILENT_FRAMES = 20
CUSTOMER_SECONDS = 30.0


def report(event: str, **details: Any) -> None:
    """Writes one report for the parent."""
    sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
    sys.stdout.flush()


class ScriptedAgent:
    """The agent's side of one room."""

    def __init__(self, room: rtc.Room) -> None:
        """Takes a room that is not connected yet."""
        self._room = room
        self._source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=100)
        # As livekit-agents does: no segment of a successor has the id of one of its predecessor's.
        self._segment_prefix = secrets.token_hex(4)
        self._segments = 0
        self._tasks = Tasks()
        self._customer_ready = asyncio.Event()

    async def join(self, server_url: str, token: str) -> None:
        """Connects, publishes its voice and reports `joined`."""
        self._room.on("track_subscribed", self._on_track)
        self._room.register_text_stream_handler("lk.chat", self._on_chat)
        # Words that are sent to somebody who is still connecting are lost.
        self._room.on("participant_active", lambda _: self._customer_ready.set())
        await self._room.connect(server_url, token)
        if any(_is_active(participant) for participant in self._room.remote_participants.values()):
            self._customer_ready.set()
        track = rtc.LocalAudioTrack.create_audio_track("voice", self._source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self._room.local_participant.publish_track(track, options)
        report("joined", room=self._room.name)

    async def obey(self, command: dict[str, Any]) -> None:
        """Does what one line of the standard input asks."""
        what = command["do"]
        if what in {"say", "mumble", "hear"}:
            async with asyncio.timeout(CUSTOMER_SECONDS):
                await self._customer_ready.wait()
        if what == "state":
            await self._room.local_participant.set_attributes({STATE_ATTRIBUTE: command["value"]})
        elif what == "say":
            await self._say(command["text"], command.get("seconds", 1.0))
        elif what == "mumble":
            self._tasks.start(self._mumble(command["text"]))
        elif what == "hear":
            await self._hear([*command.get("interim", []), command["text"]])

    async def leave(self) -> None:
        """Leaves as an agent that has ended its call."""
        await self._tasks.cancel()
        await self._source.aclose()
        await self._room.disconnect()

    async def _say(self, text: str, seconds: float) -> None:
        words = text.split(" ")
        writer = await self._open_words()
        frames = max(len(words), int(seconds * 50))
        for frame in range(frames):
            word = frame * len(words) // frames
            if frame == 0 or word != (frame - 1) * len(words) // frames:
                await writer.write(words[word] if word == 0 else f" {words[word]}")
            await self._play(frame * FRAME_SAMPLES)
        await writer.aclose(attributes={"lk.transcription_final": "true"})

    async def _mumble(self, text: str) -> None:
        writer = await self._open_words()
        await writer.write(text)
        start = 0
        while True:
            await self._play(start)
            start += FRAME_SAMPLES

    async def _hear(self, texts: list[str]) -> None:
        segment = self._new_segment()
        customer = next(iter(self._room.remote_participants))
        for place, text in enumerate(texts, start=1):
            writer = await self._room.local_participant.stream_text(
                topic="lk.transcription",
                sender_identity=customer,
                attributes={
                    "lk.segment_id": segment,
                    "lk.transcription_final": "true" if place == len(texts) else "false",
                },
            )
            await writer.write(text)
            await writer.aclose()
            await asyncio.sleep(0.15)  # noqa: TID251 - as one speaks

    def _new_segment(self) -> str:
        self._segments += 1
        return f"{self._segment_prefix}-{self._segments}"

    async def _open_words(self) -> rtc.TextStreamWriter:
        return await self._room.local_participant.stream_text(
            topic="lk.transcription",
            attributes={"lk.segment_id": self._new_segment(), "lk.transcription_final": "false"},
        )

    async def _play(self, start: int) -> None:
        await self._source.capture_frame(
            rtc.AudioFrame(build_murmur(FRAME_SECONDS, start), SAMPLE_RATE, 1, FRAME_SAMPLES)
        )

    def _on_chat(self, reader: rtc.TextStreamReader, _identity: str) -> None:
        self._tasks.start(self._read_chat(reader))

    async def _read_chat(self, reader: rtc.TextStreamReader) -> None:
        report("chat", text=await reader.read_all())

    def _on_track(self, track: rtc.RemoteTrack, *_: object) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            self._tasks.start(self._listen(track))

    async def _listen(self, track: rtc.RemoteTrack) -> None:
        stream = rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1)
        quiet = SILENT_FRAMES
        try:
            async for event in stream:
                loud = rms(bytes(event.frame.data)) >= AUDIBLE_RMS
                if loud and quiet >= SILENT_FRAMES:
                    report("heard", audible=True)
                quiet = 0 if loud else quiet + 1
                if quiet == SILENT_FRAMES:
                    report("heard", audible=False)
        finally:
            await stream.aclose()


def _is_active(participant: rtc.RemoteParticipant) -> bool:
    return participant.state == rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE


async def main() -> None:
    """Joins, then obeys until told to leave or the standard input closes."""
    agent = ScriptedAgent(rtc.Room())
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    report("ready")
    while line := await lines.readline():
        command = json.loads(line)
        if command["do"] == "join":
            await agent.join(command["url"], command["token"])
        elif command["do"] == "leave":
            break
        else:
            await agent.obey(command)
    await agent.leave()


if __name__ == "__main__":
    asyncio.run(main())
