"""Standard clients go on with the next agent: the page, a page of LiveKit's hooks alone, and the Python SDK."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testing.agent_cluster import NODES, AgentCluster
from testing.browser import chromium, write_wav
from testing.page_stage import Stage
from testing.standard_clients import HooksClient, StandardClient, standard_clients, until_answered
from testing.waiting import eventually
from voicesession.models import VoiceSession
from voicesession.names import VOICE_SESSIONS

CLIENTS = 3
FIRST_NODE, SECOND_NODE = NODES
# One after the other, and which node takes no new pods meanwhile: all calls are on one node, what waits on the other.
FAULTS = {"kill": SECOND_NODE, "move": FIRST_NODE, "node": FIRST_NODE}
# Of these no agent hears in time. They come in the middle of a sentence, which is some five seconds long.
SUDDEN = {"kill", "node"}
SENTENCE = "one two three four five six seven eight nine ten " * 5
WARM_SECONDS = 60
RECOVERED_SECONDS = 30
# A successor says the rest of the sentence first.
ANSWER_SECONDS = 40


@dataclass(frozen=True)
class Call:
    """One client's call, and its VoiceSession's name."""

    client: StandardClient
    name: str

    async def until_in_a_sentence(self) -> None:
        """Returns in the middle of what the agent says."""

        async def speaks() -> bool:
            return await self.client.agent_state() == "speaking"

        await self.client.type(SENTENCE)
        await eventually(speaks, ANSWER_SECONDS, f"the agent does not speak, in {self.client.name}")

    async def goes_on(self, agents: AgentCluster, before: VoiceSession) -> str:
        """Returns "" once another agent than before has answered; else what does not go on."""

        async def has_another() -> bool:
            now = await agents.session(self.name)
            assert now is not None
            return now.status.phase == "Active" and now.status.attempts != before.status.attempts

        try:
            await eventually(has_another, RECOVERED_SECONDS, "no other agent")
            await until_answered(self.client, "What is my name?", "Your name is Robert.", ANSWER_SECONDS)
        except TimeoutError as error:
            return str(error)
        return "" if await self.client.is_in_call() else "it takes its call for over"


async def test_every_standard_client_goes_on_with_the_next_agent(
    agents: AgentCluster, stage: Stage, tmp_path: Path
) -> None:
    stage.script = None  # real agents come instead
    agents.start_operator()
    agents.kubelet.cordoned = {SECOND_NODE}
    await agents.create_warm_pool(CLIENTS)
    agents.kubelet.cordoned = {FIRST_NODE}
    microphone = write_wav(tmp_path / "microphone.wav", [5.0])
    async with chromium(microphone) as browser, standard_clients(browser, stage.base_url) as clients:
        calls = await asyncio.gather(*(begin_call(agents, client) for client in clients))
        hooks = next(client for client in clients if isinstance(client, HooksClient))
        await hooks.until_looked()
        problems = {}
        for fault, cordoned in FAULTS.items():
            await agents.wait_for_warm(CLIENTS, WARM_SECONDS)
            agents.kubelet.cordoned = {cordoned}
            if fault in SUDDEN:
                await asyncio.gather(*(call.until_in_a_sentence() for call in calls))
            before = [await agents.wait_for_phase(call.name, "Active") for call in calls]
            await suffer(agents, fault, before)
            going_on = (call.goes_on(agents, session) for call, session in zip(calls, before, strict=True))
            for client, problem in zip(clients, await asyncio.gather(*going_on), strict=True):
                problems[client.name, fault] = problem
        assert await hooks.states_since_it_listened() == {"listening", "thinking", "speaking"}
    assert problems == {(client.name, fault): "" for client in clients for fault in FAULTS}


async def begin_call(agents: AgentCluster, client: StandardClient) -> Call:
    """Asks for an agent in the client's room; returns when it has answered."""

    async def is_there() -> bool:
        return client.identity in await agents.livekit.present(client.room)

    await eventually(is_there)
    session = await agents.create_session(room=client.room, participantIdentity=client.identity)
    await until_answered(client, "My name is Robert.", "You said: My name is Robert.", ANSWER_SECONDS)
    return Call(client, session.metadata.name)


async def suffer(agents: AgentCluster, fault: str, sessions: Sequence[VoiceSession]) -> None:
    """Has a fault happen to the pods of all calls."""
    pods = [await agents.pod_of(session) for session in sessions]
    (node,) = {agents.kubelet.node_of(pod.name) for pod in pods}
    if fault == "kill":
        for pod in pods:
            pod.kill()
    elif fault == "move":
        for session in sessions:
            await agents.patch(VOICE_SESSIONS, session.metadata.name, {"spec": {"move": "now"}})
    else:
        agents.kubelet.cut(node)
