"""Whoever runs a release sees everything of a call that goes wrong, but for its words and the release's secrets."""

import json
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from livekit import api

from local_cluster.binaries import KUBERNETES
from local_cluster.ports import free_port
from testing.agent_cluster import AgentCluster, agent_cluster
from testing.code_path import PYTHONPATH
from testing.collector import Collector, running_collector
from testing.conversations import PASSWORDS, ConversationsDatabase
from testing.customer import Customer
from testing.fake_openai import running_fake_openai
from testing.livekit import SECRET, LiveKitServer
from testing.local_speech import speech_pcm
from testing.waiting import eventually
from voicesession.assignment import conversation_write_token
from voicesession.models import VoiceSession
from voicesession.names import AGENT_PROFILES

# One word for each place, which stands nowhere else.
WORDS = {
    "greeting": "sturgeon",
    "instructions": "mackerel",
    "typed": "swordfish",
    "spoken": "barracuda",
    "argument": "herring",
    "result": "pilchard",
    "variable": "halibut",
    "attributes": "flounder",
    "metadata": "anchovy",
}
GREETING = f"Hello from the {WORDS['greeting']}."
CODE = f"""
from livekit.agents import Agent, function_tool

class Teller(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="Say nothing of the {WORDS["instructions"]}.")

    @function_tool
    async def look_up(self, name: str) -> str:
        '''Looks somebody up.'''
        return "{WORDS["result"]}"
"""
TOKEN = re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}")


@dataclass
class Stage:
    """What runs, and where all that it tells is read."""

    agents: AgentCluster
    collector: Collector
    log: Path
    port: int

    async def events(self) -> str:
        """Returns all Events of the namespace."""
        return json.dumps(await self.agents.api.request("GET", f"/api/v1/namespaces/{self.agents.namespace}/events"))

    def describe(self, kind: str) -> str:
        """Returns what kubectl says of all objects of a kind."""
        command = [str(KUBERNETES.path("kubectl")), "--kubeconfig", str(self.agents.kubeconfig)]
        told = [*command, "-n", self.agents.namespace, "describe", kind]
        return subprocess.run(told, capture_output=True, text=True, timeout=60, check=True).stdout

    async def read(self) -> dict[str, str]:
        """Returns all that was told, by where."""
        told = {f"the log of {name}": pod.log for name, pod in self.agents.kubelet.processes.items()}
        told["the operator's log"] = self.log.read_text()
        told["Events"] = await self.events()
        # What a call was asked for with, its variables among it, stands in its spec.
        told["kubectl describe"] = self.describe("vs").partition("\nStatus:")[2] + self.describe("pods")
        path = f"/api/v1/namespaces/{self.agents.namespace}/configmaps"
        told["ConfigMaps"] = json.dumps(await self.agents.api.request("GET", path))
        told["spans"] = "\n".join(span.text for span in self.collector.spans)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.port}") as http:
            for path in ("/metrics", "/healthz", "/readyz"):
                async with http.get(path) as answer:
                    told[path] = await answer.text()
        return told


@pytest.fixture
async def watched(
    api_server: Path, livekit: LiveKitServer, conversations: ConversationsDatabase, tmp_path: Path
) -> AsyncIterator[Stage]:
    """Two nodes with a pod each, and an operator in a process; both say all they can."""
    log, port = tmp_path / "operator.log", free_port()
    (tmp_path / "acme.py").write_text(CODE)
    path = {"name": "PYTHONPATH", "value": f"{PYTHONPATH}:{tmp_path}"}
    async with running_collector() as collector, running_fake_openai() as models:
        settings = {"otel_exporter_otlp_endpoint": collector.url, "http_port": port, "log_level": "DEBUG"}
        async with agent_cluster(api_server, livekit, conversations, models, tmp_path, **settings) as agents:
            operator = agents.start_operator_process(log=log)
            try:
                await agents.create_warm_pool(2, code="acme:Teller", env=[path])
                yield Stage(agents, collector, log, port)
            finally:
                operator.kill()
                operator.wait()


async def test_no_word_and_no_secret_is_told_of_a_bad_call(watched: Stage) -> None:
    stage, agents = watched, watched.agents
    profile = {"instructions": f"Never mention the {WORDS['instructions']}.", "greeting": GREETING}
    await agents.patch(AGENT_PROFILES, "default", {"spec": profile})
    variables = {"account": WORDS["variable"]}
    async with agents.call(variables=variables) as (session, customer):
        await customer.until_said(GREETING, 60)
        await converse(stage, customer)
        await lose_agent_and_provider(stage, session, customer)
    ended = await agents.wait_for_phase(session.metadata.name, "Ended", seconds=60)
    told = await stage.read()

    for where, something in {
        "Events": "ModelFailed AgentLost AgentRecovered CallEnded",
        "kubectl describe": "CallEnded AgentRecovered",
        "/metrics": "voice_agent_model_failures_total voice_agent_tokens_total",
        "the operator's log": "the agent is lost",
        "spans": "llm_node recovery",
    }.items():
        assert [word for word in something.split() if word not in told[where]] == [], where
    written = " ".join(row["content"] or "" for row in agents.rows(session))
    said = ("greeting", "typed", "spoken", "result")
    assert [each for each in said if WORDS[each] not in written] == []
    uid, key = ended.metadata.uid, agents.database.key
    secrets = {
        "LiveKit's secret": SECRET,
        "the conversation key": key.decode(),
        "the signing key": agents.settings.signing_key_file.read_text().splitlines()[1],
        "the installation key": agents.settings.installation_key_file.read_text().strip(),
        **{f"the password of {role}": password for role, password in PASSWORDS.items()},
        **{f"write token {attempt}": conversation_write_token(key, uid, attempt) for attempt in range(1, 5)},
    }
    planted = {**WORDS, **secrets}
    assert [(what, where) for where, text in told.items() for what, each in planted.items() if each in text] == []
    assert [where for where, text in told.items() if TOKEN.search(text)] == []


async def converse(stage: Stage, customer: Customer) -> None:
    """Has each word said, typed, given to a tool, or written at the customer."""
    update = api.UpdateParticipantRequest(
        room=customer.room.name,
        identity="customer",
        metadata=WORDS["metadata"],
        attributes={"at": WORDS["attributes"]},
    )
    async with stage.agents.livekit.client() as livekit:
        await livekit.room.update_participant(update)
    await customer.type_until_said(WORDS["typed"], f"You said: {WORDS['typed']}.")
    stage.agents.models.transcripts.append(WORDS["spoken"])
    await customer.say(speech_pcm("I would like to book a table for two people."))
    await customer.until_said(f"You said: {WORDS['spoken']}.", 60)
    argument = json.dumps({"name": WORDS["argument"]})
    await customer.type(f"please use look_up with {argument}")
    await customer.until_said(f"The tool says: {WORDS['result']}", 60)


async def lose_agent_and_provider(stage: Stage, session: VoiceSession, customer: Customer) -> None:
    """Has a provider fail and an agent die."""
    agents = stage.agents
    agents.models.statuses["chat"] = 500
    await customer.type(f"once more: {WORDS['typed']}")

    async def is_told() -> bool:
        return "ModelFailed" in await stage.events()

    await eventually(is_told, 60)
    del agents.models.statuses["chat"]
    known = set(customer.heard.agent_joins)
    (await agents.pod_of(session)).kill()
    await customer.until_successor(known, 60)
    await customer.until_answered(WORDS["typed"])
