"""A pod's log holds no word of a call: also not in the errors of an agent's own code, which may quote anything."""

from pathlib import Path
from typing import Any

from testing.agent_pod import AgentPod, Follower, build_assignment, build_provider, running_pod
from testing.customer import joined_room
from testing.fake_openai import FakeOpenAI
from testing.livekit import LiveKitServer, new_room
from voicesession.assignment import CallEnded
from voicesession.models import EndReason

CARD = "4711 0815 2342"
# An error may quote a part of it. The digits of one group could be in any id.
WORDS = ("my card", "4711 0815", "0815 2342")
SAID = f'please use note_card with {{"card": "my card is {CARD}"}}'
CODE = f"""
import asyncio
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, function_tool
from livekit.plugins import openai
from pydantic import BaseModel

class Payment(BaseModel):
    card: int

heard = "my card is {CARD}"
server = AgentServer()

class Cashier(Agent):
    @function_tool
    async def note_card(self, card: str) -> str:
        '''Notes a card.'''
        asyncio.get_running_loop().call_soon(Payment.model_validate_json, card)
        return Payment(card=card).model_dump_json()

async def on_shutdown(reason):
    Payment(card=heard)

async def on_session_end(ctx):
    Payment(card=heard)

@server.rtc_session(on_session_end=on_session_end)
async def entrypoint(ctx: JobContext):
    ctx.add_shutdown_callback(on_shutdown)
    session = AgentSession(stt=openai.STT(), llm=openai.LLM(), tts=openai.TTS(response_format="pcm"),
        turn_handling={{"turn_detection": "vad"}})
    session.on("user_input_transcribed", lambda event: Payment(card=heard))
    await session.start(Cashier(instructions="x"), room=ctx.room)
    await ctx.wait_for_participant()
    await session.say("Your card, please.")
"""


def words_in(text: str) -> list[str]:
    return [words for words in WORDS if words in text]


def check_no_words(pod: AgentPod, follower: Follower) -> None:
    for text in (pod.log, pod.termination().model_dump_json(), str(follower.events)):
        assert not words_in(text)


def told_of(lines: list[dict[str, Any]], function: str) -> set[tuple[str, str]]:
    """Returns the loggers and errors of the lines whose error passed through this function."""
    return {
        (line["logger"], line["error"])
        for line in lines
        if any(frame.endswith(f" {function}") for frame in line.get("at", ()))
    }


async def test_errors_of_own_code_are_told_without_their_words(
    livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path
) -> None:
    (tmp_path / "acme.py").write_text(CODE)
    room = new_room()
    async with running_pod([build_provider(fake.base_url)], AGENT_CODE="acme", WORKING_FOLDER=str(tmp_path)) as pod:
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said("Your card, please.")
            await customer.type(SAID)
            await customer.until(lambda: " note_card" in pod.log, 20, "the tool's failure")
        assert (await follower.wait_for(CallEnded)).reason is EndReason.PARTICIPANT_LEFT
        assert await pod.exit_code() == 0
        check_no_words(pod, follower)
        lines = pod.lines
    assert told_of(lines, "on_session_end") == {("voice_agent.haste", "ValidationError")}
    assert told_of(lines, "on_shutdown") == {("voice_agent.job_context", "ValidationError")}
    assert told_of(lines, "note_card") == {("livekit.agents", "ValidationError")}
    assert any(line["logger"] == "asyncio" and line["error"] == "ValidationError" for line in lines)


async def test_an_entrypoint_that_fails_and_one_that_says_why_it_ends(
    livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path
) -> None:
    endings = {
        "Payment(card=heard)": (EndReason.ERROR, "the agent's code failed: ValidationError"),
        "ctx.shutdown(heard)": (EndReason.ENDED_BY_REQUEST, f"my card is {CARD}"),
    }
    for number, (last, (reason, message)) in enumerate(endings.items()):
        (tmp_path / f"acme{number}.py").write_text(f"{CODE}    {last}\n")
        room = new_room()
        async with running_pod(
            [build_provider(fake.base_url)], AGENT_CODE=f"acme{number}", WORKING_FOLDER=str(tmp_path)
        ) as pod:
            follower = await pod.assign(build_assignment(livekit, room))
            async with joined_room(livekit.url, livekit.customer_token(room)):
                ended = await follower.wait_for(CallEnded)
            assert (ended.reason, ended.message) == (reason, message)
            assert await pod.exit_code() == 0
            assert not words_in(pod.log)
            assert [line["reason"] for line in pod.lines if line["message"] == "the call ends"] == [reason.value]
