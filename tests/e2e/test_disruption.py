"""A real call outlives its pod: killed in the middle of a sentence, and drained from its node."""

import asyncio
import os
import random

import pytest

from benchmarks.recovery import QUESTION, suffer
from benchmarks.release_stage import ReleaseStage, drain_agents
from testing.release import Release
from testing.release_calls import voice_session_of, wait_for_end

DRAIN_SECONDS = 60


@pytest.mark.skipif(os.environ.get("CLUSTER") in {"current", "kind"}, reason="the nodes' processes are not seen here")
@pytest.mark.parametrize("fault", ["kill", "oom"])
async def test_a_call_goes_on_when_its_pod_dies_in_mid_sentence(release: Release, fault: str) -> None:
    stage = ReleaseStage(release)
    await stage.until_ready()

    outcome = await suffer(stage, fault, random.Random(1))

    assert (outcome.problem, outcome.remembered) == ("", True), outcome
    assert (outcome.rows_lost, outcome.doubled) == (0, 0), outcome


async def test_a_call_leaves_a_node_that_is_drained(release: Release) -> None:
    stage = ReleaseStage(release)
    await stage.until_ready()
    async with stage.call() as call:
        customer = call.customer
        await customer.answer(customer.connect_began_at)
        node = release.get("pod", await stage.pod_of(call))["spec"]["nodeName"]
        known = set(customer.heard.agent_joins)
        try:
            await asyncio.to_thread(drain_agents, release, node, DRAIN_SECONDS)
        finally:
            release.kubectl("uncordon", node)
        await customer.until_successor(known, DRAIN_SECONDS)
        await customer.answer(await call.say(QUESTION))
        session = voice_session_of(release, call.room)
        assert session is not None
        assert session["status"]["nodeName"] != node
        assert session["status"]["attempts"] == 2
    ended = await asyncio.to_thread(wait_for_end, release, call.room)
    assert (ended["status"]["phase"], ended["status"]["endReason"]) == ("Ended", "participant_left")
