"""The client before a real API server: what we rely on of its lists, refusals and watches."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kube.client import (
    ConflictError,
    InvalidError,
    KubernetesApi,
    KubernetesUnavailableError,
    NotFoundError,
    Raw,
    WatchExpiredError,
)
from testing.operator_cluster import create_namespace
from voicesession.models import EndReason
from voicesession.names import API_VERSION, VOICE_SESSIONS


@pytest.fixture
def answers() -> list[tuple[str, int]]:
    """What the API server answered: methods and statuses."""
    return []


@pytest.fixture
async def api(api_server: Path, answers: list[tuple[str, int]]) -> AsyncIterator[KubernetesApi]:
    """A client with all rights in a namespace of its own."""
    namespace = f"kube-{secrets.token_hex(4)}"
    made = await KubernetesApi.connect(namespace, api_server, on_response=lambda *answer: answers.append(answer))
    await create_namespace(made, namespace)
    answers.clear()
    yield made
    await made.close()


def build_session(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Raw:
    metadata = {"name": name, "labels": labels or {}}
    return {"apiVersion": API_VERSION, "kind": "VoiceSession", "metadata": metadata, "spec": {"room": name, **spec}}


def names_of(raws: list[Raw]) -> list[str]:
    return [raw["metadata"]["name"] for raw in raws]


async def test_a_list_is_read_in_pages_and_is_of_one_version(
    api: KubernetesApi, answers: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kube.client._PAGE", 2)
    made = [await api.create_session(build_session(f"call-{number}")) for number in range(5)]
    raws, version = await api.list_objects(VOICE_SESSIONS)
    assert names_of(raws) == names_of(made)
    assert version >= int(made[-1]["metadata"]["resourceVersion"])
    assert answers == [("POST", 201)] * 5 + [("GET", 200)] * 3


async def test_a_list_can_be_of_some_labels_only(api: KubernetesApi) -> None:
    await api.create_session(build_session("one", {"shop": "here"}))
    await api.create_session(build_session("two", {"shop": "there"}))
    assert names_of((await api.list_objects(VOICE_SESSIONS, "shop=there"))[0]) == ["two"]


async def test_a_second_object_of_a_name_is_a_conflict_and_one_past_the_rules_is_invalid(api: KubernetesApi) -> None:
    await api.create_session(build_session("call"))
    with pytest.raises(ConflictError):
        await api.create_session(build_session("call"))
    with pytest.raises(InvalidError, match="variables"):
        await api.create_session(build_session("other", variables="no map"))


async def test_a_status_is_written_only_at_the_version_it_was_decided_on(api: KubernetesApi) -> None:
    metadata = (await api.create_session(build_session("call")))["metadata"]
    written = await api.patch_status(VOICE_SESSIONS, "call", metadata["resourceVersion"], {"phase": "Active"})
    assert written["status"]["phase"] == "Active"
    with pytest.raises(ConflictError):
        await api.patch_status(VOICE_SESSIONS, "call", metadata["resourceVersion"], {"phase": "Ended"})


async def test_an_object_is_deleted_only_if_it_is_the_one_that_was_meant(api: KubernetesApi) -> None:
    metadata = (await api.create_session(build_session("call")))["metadata"]
    with pytest.raises(ConflictError):
        await api.delete_session("call", "00000000-0000-0000-0000-000000000000")
    await api.delete_session("call", metadata["uid"])
    with pytest.raises(NotFoundError):
        await api.get_session("call")


async def test_of_each_kind_it_is_told_which_object_is_not_there(api: KubernetesApi) -> None:
    asks = (
        lambda: api.get_session("call"),
        lambda: api.patch_status(VOICE_SESSIONS, "call", "1", {"phase": "Active"}),
        lambda: api.delete_session("call", "uid"),
        lambda: api.get_pod("pod"),
        lambda: api.patch_pod("pod", []),
        lambda: api.delete_pod("pod", "uid"),
        lambda: api.get_lease("lease"),
        lambda: api.get_config_map("map"),
        lambda: api.delete_config_map("map"),
    )
    for ask in asks:
        with pytest.raises(NotFoundError):
            await ask()


async def test_a_kind_that_is_not_served_is_no_object_that_is_gone(api: KubernetesApi) -> None:
    with pytest.raises(KubernetesUnavailableError):
        await api.request("DELETE", f"/apis/{API_VERSION}/namespaces/default/callsofvoices/call")


async def test_a_watch_tells_what_happened_since_its_list(api: KubernetesApi) -> None:
    _, version = await api.list_objects(VOICE_SESSIONS)
    uid = (await api.create_session(build_session("call")))["metadata"]["uid"]
    assert (await api.end_session("call", EndReason.PARTICIPANT_LEFT))["spec"]["end"] is True
    await api.delete_session("call", uid)
    told: list[str] = []
    async with asyncio.timeout(20):
        async for event in api.watch_objects(VOICE_SESSIONS, version):
            told.append(event["type"])
            if event["type"] == "DELETED":
                break
    assert told == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_watch_from_a_forgotten_version_has_expired(api: KubernetesApi) -> None:
    with pytest.raises(WatchExpiredError, match="too old"):
        async with asyncio.timeout(20):
            await anext(api.watch_objects(VOICE_SESSIONS, 1))
