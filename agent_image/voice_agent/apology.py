"""What the customer hears when a call fails: an apology that needs neither the agent session nor a working provider."""

import asyncio
import contextlib
import json
import logging
import wave
from importlib import resources

from livekit import rtc
from livekit.rtc.participant import PublishDataError

from voice_agent.spoken_cache import SAMPLE_RATE, build_frames
from voicesession.names import DATA_TOPIC

APOLOGY = "I am sorry, something has gone wrong on our side. Please try again later."
_SUBSCRIBE_SECONDS = 3.0
_QUEUE_MILLIS = 200

log = logging.getLogger(__name__)


def recorded_apology() -> bytes:
    """Returns the apology in the voice that comes with the image: 24 kHz mono 16-bit samples."""
    with resources.files("voice_agent").joinpath("apology.wav").open("rb") as file, wave.open(file) as recording:
        samples: bytes = recording.readframes(recording.getnframes())
    return samples


async def tell_customer(room: rtc.Room, reason: str, message: str) -> None:
    """Sends what went wrong as a data message, for pages to show. A failure is only logged."""
    body = json.dumps({"type": "error", "reason": reason, "message": message})
    try:
        async with asyncio.timeout(2):
            await room.local_participant.publish_data(body, reliable=True, topic=DATA_TOPIC)
    except (PublishDataError, TimeoutError) as error:
        log.warning("the customer could not be told what went wrong", extra={"error": error})


async def speak(room: rtc.Room, pcm: bytes) -> None:
    """Plays 24 kHz mono 16-bit samples to the room on a track of its own; returns when they have been played."""
    source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=_QUEUE_MILLIS)
    try:
        track = rtc.LocalAudioTrack.create_audio_track("apology", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await room.local_participant.publish_track(track, options)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SUBSCRIBE_SECONDS):
                await publication.wait_for_subscription()
        async for frame in build_frames(pcm):
            await source.capture_frame(frame)
        await source.wait_for_playout()
    finally:
        await source.aclose()
