"""The scripted customer counts as an ear does."""

from testing.customer import joined_room
from testing.livekit import new_room, running_livekit
from testing.sound import silence_after
from voice_agent.apology import recorded_apology


async def test_speech_is_over_when_its_last_sound_has_left() -> None:
    recording = recorded_apology() + bytes(48_000)
    assert silence_after(recording) > 1.4
    room = new_room()
    with running_livekit() as livekit:
        async with (
            joined_room(livekit.url, livekit.customer_token(room)) as listener,
            # The customer listens to the agent alone.
            joined_room(livekit.url, livekit.agent_token(room)) as speaker,
        ):
            spoken = await speaker.say(recording)
            await listener.until(lambda: listener.heard.last_audible() is not None, 10, "a sound")
            first, last = listener.heard.audible_after(0), listener.heard.last_audible()
    # It can be heard only after it has left; the silence after it would be heard later still.
    assert first is not None
    assert last is not None
    assert first < spoken < last
