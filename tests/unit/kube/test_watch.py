"""The cache of the cluster that answering needs no request for."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from testing.fake_cluster import FakeCluster
from token_service.kubernetes_api import Raw, WatchExpiredError
from token_service.watch_cache import WatchCache, WatchedKind
from voicesession.models import AgentProfile, VoiceSession
from voicesession.names import AGENT_PROFILES, VOICE_SESSIONS


def raw(name: str, version: int, profile: str = "default") -> Raw:
    return {"metadata": {"name": name, "resourceVersion": str(version)}, "spec": {"profile": profile}}


@pytest.fixture
def kind() -> WatchedKind[VoiceSession]:
    return WatchedKind(VOICE_SESSIONS, VoiceSession.model_validate)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for knows no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def followed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[WatchCache, FakeCluster]]:
    monkeypatch.setattr("token_service.watch_cache._FIRST_PAUSE", 0.01)
    cluster, cache = FakeCluster(), WatchCache()
    task = asyncio.create_task(cache.follow(cluster))
    yield cache, cluster
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_an_older_answer_does_not_overwrite_a_newer_one(kind: WatchedKind[VoiceSession]) -> None:
    kind.put(raw("a", 5, "new"))
    kind.put(raw("a", 4, "old"))
    assert kind.by_name["a"].spec.profile == "new"


def test_a_list_ends_what_it_lacks_but_not_what_is_newer_than_it(kind: WatchedKind[VoiceSession]) -> None:
    kind.put(raw("gone", 3))
    kind.put(raw("just-made", 9))
    kind.replace([raw("stays", 4)], "7")
    assert set(kind.by_name) == {"stays", "just-made"}


def test_one_unreadable_object_does_not_hide_the_others(
    kind: WatchedKind[VoiceSession], caplog: pytest.LogCaptureFixture
) -> None:
    broken = {"metadata": {"name": "broken", "resourceVersion": "1"}, "spec": {"variables": "secret words"}}
    with caplog.at_level(logging.WARNING):
        kind.replace([broken, raw("good", 2)], "2")
    assert set(kind.by_name) == {"good"}
    assert "broken" in caplog.text
    assert "secret words" not in caplog.text


async def test_it_follows_what_comes_changes_and_goes(followed: tuple[WatchCache, FakeCluster]) -> None:
    cache, cluster = followed
    await until(lambda: cache.synced)
    assert set(cache.profiles.by_name) == {"default"}
    cluster.put(AGENT_PROFILES, "shop", {"displayName": "Shop"})
    await until(lambda: "shop" in cache.profiles.by_name)
    cluster.put(AGENT_PROFILES, "shop", {"displayName": "Market"})
    await until(lambda: cache.profiles.by_name["shop"].spec.display_name == "Market")
    cluster.remove(AGENT_PROFILES, "shop")
    await until(lambda: "shop" not in cache.profiles.by_name)


async def test_it_survives_an_absent_api_server_and_notices_what_it_missed(
    followed: tuple[WatchCache, FakeCluster],
) -> None:
    cache, cluster = followed
    cluster.put(AGENT_PROFILES, "shop", {})
    await until(lambda: "shop" in cache.profiles.by_name)
    cluster.away = True
    cluster.break_watches()
    before = cluster.requests["list"]
    await until(lambda: cluster.requests["list"] > before + 3)
    assert cache.synced
    assert "shop" in cache.profiles.by_name
    cluster.remove(AGENT_PROFILES, "shop")
    cluster.put(AGENT_PROFILES, "market", {})
    cluster.away = False
    await until(lambda: set(cache.profiles.by_name) == {"default", "market"})


async def test_nothing_counts_as_known_before_everything_was_listed() -> None:
    cluster, cache = FakeCluster(), WatchCache()
    cluster.away = True
    task = asyncio.create_task(cache.follow(cluster))
    await until(lambda: cluster.requests["list"] >= 3)
    assert not cache.synced
    task.cancel()


async def test_an_expired_watch_begins_with_a_new_list(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(FakeCluster):
        async def watch_objects(self, plural: str, resource_version: str) -> AsyncIterator[Raw]:
            self.requests["watch"] += 1
            if self.requests["watch"] < 3:
                raise WatchExpiredError("too old")
            async for event in super().watch_objects(plural, resource_version):
                yield event

    monkeypatch.setattr("token_service.watch_cache._FIRST_PAUSE", 0.01)
    cluster = Forgetful()
    kind = WatchedKind(AGENT_PROFILES, AgentProfile.model_validate)
    task = asyncio.create_task(kind.follow(cluster))
    await until(lambda: cluster.requests["watch"] >= 3)
    cluster.put(AGENT_PROFILES, "late", {})
    await until(lambda: "late" in kind.by_name)
    assert cluster.requests["list"] == 3
    task.cancel()
