"""The scripted customer counts as an ear does."""

from testing.agent_pod import build_assignment, build_provider, running_pod
from testing.customer import joined_room
from testing.fake_openai import running_fake_openai
from testing.livekit import new_room, running_livekit
from testing.sound import SAMPLE_RATE, silence_after
from voice_agent.apology import recorded_apology
from voicesession.models import AgentProfileSpec

SECOND = SAMPLE_RATE * 2  # in bytes
# The last sentence of a WAV that ends in silence; and another second of that.
RECORDING = recorded_apology()[3 * SECOND :] + bytes(SECOND)


async def test_speech_is_over_when_its_last_sound_has_left() -> None:
    assert silence_after(RECORDING) > 1.4
    room = new_room()
    with running_livekit() as livekit:
        async with (
            joined_room(livekit.url, livekit.customer_token(room)) as listener,
            # The customer listens to the agent alone.
            joined_room(livekit.url, livekit.agent_token(room)) as speaker,
        ):
            spoken = await speaker.say(RECORDING)
            await listener.until(lambda: listener.heard.last_audible() is not None, 10, "a sound")
            first, last = listener.heard.audible_after(0), listener.heard.last_audible()
    assert first is not None
    assert last is not None
    # It is heard when it has left, give or take a queue; the end of the file is 1.5 s later.
    assert first < spoken < last + 0.5


async def test_an_answer_is_timed_from_the_last_sound_not_from_the_end_of_the_file() -> None:
    room, profile = new_room(), AgentProfileSpec(greeting="Hello there.")
    with running_livekit() as livekit:
        async with running_fake_openai() as fake, running_pod([build_provider(fake.base_url)]) as pod:
            fake.transcripts.append("please try again later")
            await pod.assign(build_assignment(livekit, room, profile))
            async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
                await customer.answer(customer.connect_began_at)
                seconds = await customer.ask(RECORDING)
                await customer.until_said("You said: please try again later.")
    # The agent waits so long for more to come, and by then the file has not ended.
    assert seconds * 1000 >= profile.turn_taking.min_endpointing_millis
