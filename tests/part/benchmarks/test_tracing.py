"""The benchmark of what traces cost, short: only the traced half sends spans, and no call is lost to them."""

from pathlib import Path

import aiohttp

from benchmarks.control_plane import running_control_plane
from benchmarks.tracing import operate_in_pairs, running_counter, talk_in_pairs
from testing.livekit import LiveKitServer

CALLS = 5


async def count_batches(collector: str) -> int:
    async with aiohttp.ClientSession(raise_for_status=True) as http, http.get(collector) as answer:
        return int((await answer.json())["batches"])


async def test_agents_and_operators_are_compared_with_themselves(livekit: LiveKitServer, tmp_path: Path) -> None:
    async with running_counter(tmp_path) as collector:
        agents = await talk_in_pairs(livekit, collector, pairs=1, turns=1)
        from_agents = await count_batches(collector)
        async with running_control_plane(tmp_path) as plane:
            operators = await operate_in_pairs(plane, collector, pairs=1, rate=5, count=CALLS)
        from_all = await count_batches(collector)
    assert 0 < from_agents < from_all
    for pairs in (agents, operators):
        assert len(pairs.plain.cpu) == len(pairs.traced.cpu) == 1
        assert pairs.plain.cpu[0] > 0
