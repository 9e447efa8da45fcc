"""The benchmark of installations that share a LiveKit, or a namespace, short."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from benchmarks.installations import run_calls, run_releases, running_installations
from testing.livekit import LiveKitServer

CALLS = 2


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_two_on_one_livekit_leave_each_other_s_rooms_alone(
    api_server: Path, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with running_installations(api_server, tmp_path, http, warm=CALLS) as installations:
        apart = await run_calls(installations, CALLS, http)
    assert apart.calls == 2 * CALLS
    assert apart.held, apart


async def test_a_second_release_in_a_namespace_makes_no_pods(
    api_server: Path, livekit: LiveKitServer, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    releases = await run_releases(api_server, livekit, tmp_path, http, CALLS)
    assert releases.held, releases
