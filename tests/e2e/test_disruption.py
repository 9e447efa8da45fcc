"""A real call outlives its pod: killed in the middle of a sentence, and drained from its node."""

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.move import gathered, make_room
from benchmarks.recovery import suffer
from benchmarks.release_stage import ReleaseStage, drain_agents
from testing.browser import chromium, write_wav
from testing.release import Release
from testing.release_calls import voice_session_of, wait_for_end
from testing.standard_clients import HooksClient, StandardClient, standard_clients, until_answered

CLIENTS = 3
DRAIN_SECONDS = 60
ANSWER_SECONDS = 60


@pytest.mark.skipif(os.environ.get("CLUSTER") in {"current", "kind"}, reason="the nodes' processes are not seen here")
async def test_a_call_goes_on_when_its_pod_dies_in_mid_sentence(release: Release) -> None:
    stage = ReleaseStage(release)
    await stage.until_ready()

    outcome = await suffer(stage, "oom", random.Random(1))

    assert (outcome.problem, outcome.remembered) == ("", True), outcome
    assert (outcome.rows_lost, outcome.doubled) == (0, 0), outcome


async def test_every_standard_client_goes_on_when_its_node_is_drained(
    release: Release, localhost_front_door: str, tmp_path: Path
) -> None:
    stage = ReleaseStage(release)
    await stage.until_ready()
    microphone = write_wav(tmp_path / "microphone.wav", [5.0])
    async with (
        gathered(stage, CLIENTS) as node,
        chromium(microphone) as browser,
        standard_clients(browser, localhost_front_door) as clients,
    ):
        told = (until_answered(client, "My name is Robert.", "Robert", ANSWER_SECONDS) for client in clients)
        await asyncio.gather(*told)
        assert {status_of(release, client)["nodeName"] for client in clients} == {node}
        await asyncio.to_thread(make_room, release, node, CLIENTS)
        for client in clients:
            if isinstance(client, HooksClient):
                await client.until_looked()
        await asyncio.to_thread(drain_agents, release, node, DRAIN_SECONDS)
        asked = (
            until_answered(client, "What is my name?", "Your name is Robert.", ANSWER_SECONDS) for client in clients
        )
        await asyncio.gather(*asked)
        statuses = [status_of(release, client) for client in clients]
        assert node not in {status["nodeName"] for status in statuses}
        assert [status["attempts"] for status in statuses] == [2] * CLIENTS
        assert [client.name for client in clients if not await client.is_in_call()] == []
    for client in clients:
        ended = await asyncio.to_thread(wait_for_end, release, client.room)
        assert ended["status"]["phase"] == "Ended"


def status_of(release: Release, client: StandardClient) -> dict[str, Any]:
    session = voice_session_of(release, client.room)
    assert session is not None
    status: dict[str, Any] = session["status"]
    return status
