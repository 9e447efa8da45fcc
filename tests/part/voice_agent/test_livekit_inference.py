"""Programs that ask LiveKit Inference for their models, unedited, in a pod whose provider serves them."""

from importlib.metadata import version
from pathlib import Path

from testing.agent_pod import build_assignment, build_provider, running_pod
from testing.customer import joined_room
from testing.fake_openai import RIGHT_KEY, FakeOpenAI
from testing.livekit import LiveKitServer, new_room
from testing.waiting import eventually
from voicesession.assignment import CallEnded
from voicesession.models import EndReason, ModelChoices

# As most public programs are written: strings, objects, an agent with models of its own, a handoff, a fallback.
PROGRAM = """
import asyncio
from livekit import agents
from livekit.agents import Agent, AgentServer, AgentSession, function_tool, inference, llm

asyncio.run(asyncio.sleep(0))
server = AgentServer()

def prewarm(process):
    process.userdata["menu"] = asyncio.run(load())

async def load():
    return "pizza"

server.setup_fnc = prewarm

class Reception(Agent):
    def __init__(self):
        super().__init__(instructions="reception", tts="cartesia/sonic-3:9626c31c-bec5-4cca-baa8-f8ba9e84c8bc")

    async def on_enter(self):
        self.session.say("Reception.")

    @function_tool
    async def transfer(self):
        "Transfers."
        return Kitchen(), "transferred"

class Kitchen(Agent):
    def __init__(self):
        super().__init__(instructions="kitchen", stt=inference.STT("deepgram/nova-3", language="de"),
            llm=llm.FallbackAdapter([inference.LLM("openai/gpt-4.1-mini"), inference.LLM("google/gemini-2.5-flash")]),
            tts=inference.TTS("rime/arcana", voice="luna"))

    async def on_enter(self):
        self.session.tts.update_options(voice="astra")
        self.session.say("Kitchen.")

@server.rtc_session(agent_name="pizzeria")
async def entrypoint(ctx: agents.JobContext):
    session = AgentSession(stt="deepgram/nova-3:multi", llm="openai/gpt-4.1-mini", tts="cartesia/sonic-3",
        turn_detection=inference.TurnDetector(version="v1"))
    await session.start(agent=Reception(), room=ctx.room)
    print(ctx.proc.userdata["menu"], repr(ctx.job.metadata), flush=True)

if __name__ == "__main__":
    agents.cli.run_app(server)
"""


def test_the_version_is_the_one_that_was_read() -> None:
    assert version("livekit-agents") == "1.8.9"


async def test_the_call_s_provider_serves_them(livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.required_key = RIGHT_KEY
    (tmp_path / "acme.py").write_text(PROGRAM)
    room = new_room()
    assignment = build_assignment(livekit, room)
    profile = assignment.profile.model_copy(update={"models": ModelChoices(llm="chosen")})
    async with running_pod(
        # The pool's first provider would refuse: it is not the call's.
        [build_provider("http://127.0.0.1:9/v1", name="first"), build_provider(fake.base_url)],
        {"fake": RIGHT_KEY},
        AGENT_CODE="acme",
        WORKING_FOLDER=str(tmp_path),
    ) as pod:
        follower = await pod.assign(assignment.model_copy(update={"profile": profile}))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said("Reception.")
            await customer.type("please use transfer with {}")
            await customer.until_said("Kitchen.")
            await customer.type("two funghi")
            await customer.until_said("You said: two funghi.")
            await customer.until(lambda: customer.heard.last_audible() is not None, 20, "an audible answer")
        assert (await follower.wait_for(CallEnded)).reason is EndReason.PARTICIPANT_LEFT
        told = [line for line in pod.lines if "LiveKit Inference" in line["message"] and "asked" in line]
        assert {line["part"]: line["asked"] for line in told if line["asked"].startswith(("deepgram", "openai"))} == {
            "stt": "deepgram/nova-3",
            "llm": "openai/gpt-4.1-mini",
        }
        assert {line["provider"] for line in told} == {"fake"}
        assert "pizza ''" in pod.log
        (said,) = [line["options"] for line in pod.lines if "mean nothing in an agent pod" in line["message"]]
        assert said == ["agent_name"]
    assert {chat["model"] for chat in fake.chats} == {"chosen"}


async def test_a_pool_that_leaves_them_to_livekit(livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path) -> None:
    (tmp_path / "acme.py").write_text(PROGRAM)
    async with running_pod(
        [build_provider(fake.base_url)], AGENT_CODE="acme", AGENT_INFERENCE="LiveKit", WORKING_FOLDER=str(tmp_path)
    ) as pod:
        room = new_room()
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)):
            assert (await follower.wait_for(CallEnded)).message == "the agent's code failed: ValueError"
            await eventually(lambda: "entrypoint" in pod.log)


async def test_a_provider_that_cannot_serve_them_is_named(
    livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path
) -> None:
    (tmp_path / "acme.py").write_text(PROGRAM)
    deaf = build_provider(fake.base_url).model_copy(update={"stt": None})
    async with running_pod([deaf], AGENT_CODE="acme", WORKING_FOLDER=str(tmp_path)) as pod:
        room = new_room()
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)):
            ended = await follower.wait_for(CallEnded)
        assert ended.message == (
            "provider 'fake' has no speech-to-text model, which the agent's code asks LiveKit Inference for as "
            "'deepgram/nova-3'"
        )
