"""`kubectl voice` as it is typed: a process of its own, a real API server, a real operator."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from testing.operator_cluster import OperatorCluster
from testing.waiting import eventually
from voicesession.models import VoiceSession
from voicesession.names import AGENT_POOLS


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    text: str
    error: str

    @property
    def value(self) -> Any:
        """Returns what was printed as JSON."""
        return json.loads(self.text)


async def kubectl_voice(cluster: OperatorCluster, *arguments: str) -> Answer:
    """Types a command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kubectl_voice", *arguments, "--namespace", cluster.namespace),
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    return Answer(process.returncode or 0, out.decode(), error.decode())


async def start_call(cluster: OperatorCluster) -> VoiceSession:
    """Returns a call whose agent is in the room, in a pool with another pod."""
    cluster.start_operator()
    await cluster.create_pool(warm={"min": 2})
    await cluster.create_profile()
    await cluster.wait_for_warm(2)
    session = await cluster.create_session("call")
    return await cluster.wait_for_phase(session.metadata.name, "Active")


def widest(text: str) -> int:
    """Returns the width of the longest line."""
    return max(len(line.rstrip()) for line in text.splitlines())


async def test_a_call_is_looked_at_moved_and_ended(cluster: OperatorCluster) -> None:
    session = await start_call(cluster)
    room, uid, pod = str(session.status.room), session.metadata.uid, str(session.status.pod_name)

    [row] = (await kubectl_voice(cluster, "top", "-o", "json")).value
    assert (row["NAME"], row["PHASE"], row["POD"]) == ("call", "Active", pod)
    table = await kubectl_voice(cluster, "top", "--once")
    assert table.text.split()[0] == "NAME"
    assert widest(table.text) <= 120

    for name in ("call", room, uid):
        why = await kubectl_voice(cluster, "why", name)
        assert "Nothing is wrong: the agent is in the room." in why.text, why
        assert "there is no token service" in why.text

    async def is_counted() -> bool:  # a pool's status is written every five seconds at most
        [pool] = (await kubectl_voice(cluster, "pool", "-o", "json")).value
        return (pool["NAME"], pool["IN-USE"]) == ("default", 1)

    await eventually(is_counted)

    moved = await kubectl_voice(cluster, "move", "call")
    assert "has the call" in moved.text, moved
    assert pod not in moved.text.splitlines()[-1]

    ended = await kubectl_voice(cluster, "end", room)
    assert ended.code == 0, ended
    assert (await cluster.wait_for_phase("call", "Ended")).status.end_reason == "ended_by_request"
    assert (await kubectl_voice(cluster, "top", "-o", "json")).value == []


async def test_a_call_that_cannot_be_served_says_why_and_what_to_do(cluster: OperatorCluster) -> None:
    cluster.start_operator()
    await cluster.create_session("orphan", profile="nobody")
    await cluster.wait_for_phase("orphan", "Failed")
    why = await kubectl_voice(cluster, "why", "orphan", "-o", "json")
    assert [(each["CODE"], bool(each["ADVICE"])) for each in why.value["verdict"]] == [("ProfileMissing", True)]
    assert why.value["story"][0]["WHO"] == "call"


async def test_what_is_not_there_is_said_in_a_sentence(cluster: OperatorCluster) -> None:
    commands: Sequence[tuple[str, ...]] = (("why", "nobody"), ("transcript", "nobody"), ("end", "nobody"))
    for command in commands:
        answer = await kubectl_voice(cluster, *command)
        assert answer.code == 1
        assert answer.error.startswith("error: no VoiceSession in namespace")
        assert "Traceback" not in answer.error


async def test_a_namespace_without_a_release_is_said_to_be_one(cluster: OperatorCluster) -> None:
    for command in ("top", "pool"):
        answer = await kubectl_voice(cluster, command)
        assert answer.code == 0
        assert answer.text.startswith(f"There is no release in namespace '{cluster.namespace}'."), answer


async def test_an_api_server_that_is_away_is_named_in_a_sentence(cluster: OperatorCluster, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.write_text(re.sub("server: .*", "server: https://127.0.0.1:1", cluster.kubeconfig.read_text()))
    answer = await kubectl_voice(replace(cluster, kubeconfig=away), "top")
    assert answer.code == 1
    assert answer.error.startswith("error: the API server does not answer as it should: ")
    assert "Traceback" not in answer.error


async def test_the_doctor_finds_that_nobody_serves_a_namespace(cluster: OperatorCluster) -> None:
    await cluster.create(AGENT_POOLS, "AgentPool", "lonely", {"image": "agent"})
    answer = await kubectl_voice(cluster, "doctor", "-o", "json")
    assert answer.code == 1
    assert {each["CODE"] for each in answer.value["findings"]} == {"operator-missing", "token-service-missing"}
