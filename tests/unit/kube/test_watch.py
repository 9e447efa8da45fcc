"""A store that follows a cluster: what comes, changes and goes, through breaks of the watch and of the API server."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from kube.client import Raw, WatchExpiredError
from kube.store import Store
from kube.watch import Source, follow
from testing.fake_cluster import FakeCluster
from testing.waiting import eventually
from voicesession.models import AgentProfile
from voicesession.names import AGENT_PROFILES


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kube.watch._FIRST_PAUSE", 0.01)


@pytest.fixture
def profiles() -> Store[AgentProfile]:
    return Store(AgentProfile.model_validate)


@contextlib.asynccontextmanager
async def followed(source: Source, profiles: Store[AgentProfile]) -> AsyncIterator[Counter[str]]:
    """Follows the profiles; yields how often a new watch began, by cause."""
    restarts: Counter[str] = Counter()
    task = asyncio.create_task(follow(source, AGENT_PROFILES, profiles, lambda cause: restarts.update([cause])))
    yield restarts
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_follows_what_comes_changes_and_goes(profiles: Store[AgentProfile]) -> None:
    cluster = FakeCluster()
    async with followed(cluster, profiles) as restarts:
        await eventually(lambda: profiles.synced)
        assert set(profiles.by_name) == {"default"}
        cluster.put(AGENT_PROFILES, "shop", {"displayName": "Shop"})
        await eventually(lambda: "shop" in profiles.by_name)
        cluster.put(AGENT_PROFILES, "shop", {"displayName": "Market"})
        await eventually(lambda: profiles.by_name["shop"].spec.display_name == "Market")
        cluster.remove(AGENT_PROFILES, "shop")
        await eventually(lambda: "shop" not in profiles.by_name)
        assert cluster.requests == {"list": 1, "watch": 1}
    assert not restarts


async def test_it_survives_an_absent_api_server_and_notices_what_it_missed(profiles: Store[AgentProfile]) -> None:
    cluster = FakeCluster()
    async with followed(cluster, profiles) as restarts:
        cluster.put(AGENT_PROFILES, "shop", {})
        await eventually(lambda: "shop" in profiles.by_name)
        cluster.away = True
        cluster.break_watches()
        before = cluster.requests["list"]
        await eventually(lambda: cluster.requests["list"] > before + 3)
        assert profiles.synced
        assert "shop" in profiles.by_name
        cluster.remove(AGENT_PROFILES, "shop")
        cluster.put(AGENT_PROFILES, "market", {})
        cluster.away = False
        await eventually(lambda: set(profiles.by_name) == {"default", "market"})
    assert set(restarts) == {"error"}


async def test_nothing_counts_as_known_before_everything_was_listed(profiles: Store[AgentProfile]) -> None:
    cluster = FakeCluster()
    cluster.away = True
    async with followed(cluster, profiles):
        await eventually(lambda: cluster.requests["list"] >= 3)
        assert not profiles.synced


class Forgetful(FakeCluster):
    """Knows no version any more for the first two watches."""

    async def watch_objects(self, plural: str, version: int) -> AsyncIterator[Raw]:
        if self.requests["watch"] < 2:
            self.requests["watch"] += 1
            raise WatchExpiredError(410, "too old")
        async for event in super().watch_objects(plural, version):
            yield event


async def test_an_expired_watch_begins_with_a_new_list(profiles: Store[AgentProfile]) -> None:
    cluster = Forgetful()
    async with followed(cluster, profiles) as restarts:
        await eventually(lambda: cluster.requests["watch"] >= 3)
        cluster.put(AGENT_PROFILES, "late", {})
        await eventually(lambda: "late" in profiles.by_name)
    assert cluster.requests["list"] == 3
    assert restarts == {"expired": 2}


class Brief(FakeCluster):
    """Ends each watch after one event, as the API server ends one that has lasted."""

    async def watch_objects(self, plural: str, version: int) -> AsyncIterator[Raw]:
        async for event in super().watch_objects(plural, version):
            yield event
            return


async def test_a_watch_that_ends_is_followed_by_another(profiles: Store[AgentProfile]) -> None:
    cluster = Brief()
    async with followed(cluster, profiles) as restarts:
        for name in ("one", "two", "three"):
            before = cluster.requests["watch"]
            cluster.put(AGENT_PROFILES, name, {})
            await eventually(lambda: name in profiles.by_name)  # noqa: B023 - waited for within the loop
            await eventually(lambda: cluster.requests["watch"] > before)  # noqa: B023
    assert set(restarts) == {"resync"}
