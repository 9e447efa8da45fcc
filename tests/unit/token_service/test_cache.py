"""What the token service knows without asking."""

import asyncio
from collections.abc import AsyncIterator

from prometheus_client import REGISTRY

from kube.client import Page
from testing.fake_cluster import FakeCluster
from testing.waiting import eventually
from token_service.cache import Cache
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, VOICE_SESSIONS


class WithoutPools(FakeCluster):
    """Lists no pools until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.pools_are_there = asyncio.Event()

    async def list_pages(self, plural: str) -> AsyncIterator[Page]:
        if plural == AGENT_POOLS:
            await self.pools_are_there.wait()
        async for page in super().list_pages(plural):
            yield page


async def test_it_is_synced_when_all_three_kinds_were_listed_and_counts_them() -> None:
    cluster, cache = WithoutPools(), Cache()
    cluster.put(VOICE_SESSIONS, "vs-1", {"profile": "default"})
    cluster.put(VOICE_SESSIONS, "vs-2", {"profile": "default"})
    following = asyncio.create_task(cache.follow(cluster))
    await eventually(lambda: cache.sessions.synced and cache.profiles.synced)
    assert not cache.synced
    cluster.pools_are_there.set()
    await eventually(lambda: cache.synced)
    assert set(cache.pools.by_name) == {"default", "local"}
    counts = {plural: count_cached(plural) for plural in (VOICE_SESSIONS, AGENT_PROFILES, AGENT_POOLS)}
    assert counts == {VOICE_SESSIONS: 2, AGENT_PROFILES: 1, AGENT_POOLS: 2}
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


def count_cached(plural: str) -> float | None:
    return REGISTRY.get_sample_value("voice_token_service_cached_objects", {"kind": plural})
