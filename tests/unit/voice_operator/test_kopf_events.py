"""What takes the place of kopf's private functions, before a server of a few lines that fails as it is told to."""

import asyncio
import contextlib
import inspect
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from aiohttp import web
from kopf._cogs.clients import api, fetching, watching
from kopf._core.reactor import queueing

from kube.client import Connection
from testing.answering_api_server import answering_api_server
from testing.waiting import eventually, stays
from voice_operator import handlers, lease
from voice_operator.app import Operator
from voice_operator.handlers import start_watches

KINDS = {"voicesessions": "VoiceSession", "agentpools": "AgentPool", "agentprofiles": "AgentProfile", "pods": "Pod"}


def test_kopf_is_the_version_whose_private_functions_are_replaced() -> None:
    """Another version: read what `kopf_events` replaces there, then name it here and in pyproject.toml."""
    assert version("kopf") == "1.45.2"
    for function, names in (
        (fetching.fetch_objs, {"resource"}),
        (watching.watch_objs, {"resource"}),
        (api.request, {"url"}),
    ):
        assert names <= inspect.signature(function).parameters.keys()
    # What is replaced is found by its module when it is called.
    assert "fetching.fetch_objs(" in inspect.getsource(watching.continuous_watch)
    assert "stream = watch_objs(" in inspect.getsource(watching.continuous_watch)
    assert "await request(" in inspect.getsource(api.stream)
    # And of a bookmark it keeps the version alone.
    assert "raw_event.get('type') == 'BOOKMARK'" in inspect.getsource(queueing.watcher)
    assert "'resourceVersion', resource_version)" in inspect.getsource(watching.continuous_watch)


# Watches


class FaultyServer:
    """As much of an API server as kopf watches, with faults. `watches`: how many were asked for, by kind."""

    def __init__(self) -> None:
        self.unauthorized = False
        self.too_old: Counter[str] = Counter()  # how many watches of a kind are still to be refused for that
        self.watches: Counter[str] = Counter()
        self.since: list[str] = []
        self.refused = 0
        self._open: dict[str, list[asyncio.Queue[dict[str, Any] | None]]] = {plural: [] for plural in KINDS}

    def tell(self, plural: str, event: dict[str, Any] | None) -> None:
        """Sends an event to the open watches of a kind; None ends them."""
        for queue in self._open[plural]:
            queue.put_nowait(event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.unauthorized:
            self.refused += 1
            return web.json_response({"kind": "Status", "code": 401}, status=401)
        plural = request.path.rpartition("/")[2]
        if plural in KINDS:
            return await self._watch(request, plural)
        return web.json_response(_discover(request.path))

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        assert request.query.get("watch"), "kopf lists by itself"
        self.watches[plural] += 1
        self.since.append(request.query["resourceVersion"])
        if self.too_old[plural]:
            self.too_old[plural] -= 1
            return web.json_response({"kind": "Status", "code": 410, "message": "too old"}, status=410)
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._open[plural].append(queue)
        while event := await queue.get():
            await response.write(json.dumps(event).encode() + b"\n")
        return response


def _discover(path: str) -> dict[str, Any]:
    """Answers what there is: our kinds, and what kopf waits for before it watches any."""
    if path == "/api":
        return {"versions": ["v1"]}
    if path == "/apis":
        versions = {"voiceagents.dev": "v1alpha1", "apiextensions.k8s.io": "v1"}
        groups = [
            {"name": group, "versions": [{"version": version}], "preferredVersion": {"version": version}}
            for group, version in versions.items()
        ]
        return {"groups": groups}
    kinds = {
        "/api/v1": {"namespaces": "Namespace", "pods": "Pod"},
        "/apis/apiextensions.k8s.io/v1": {"customresourcedefinitions": "CustomResourceDefinition"},
        "/apis/voiceagents.dev/v1alpha1": {plural: kind for plural, kind in KINDS.items() if plural != "pods"},
    }[path]
    verbs = ["list", "watch", "patch"]
    return {
        "resources": [
            {"name": plural, "kind": kind, "singularName": "", "namespaced": plural in KINDS, "verbs": verbs}
            for plural, kind in kinds.items()
        ]
    }


class Listener:
    """Counts what it is told. Lists are of version 100 and up."""

    def __init__(self) -> None:
        self.heard_of: Counter[str] = Counter()
        self.lists: Counter[str] = Counter()
        self.pauses: Counter[str] = Counter()

    def heard(self, plural: str) -> None:
        self.heard_of[plural] += 1

    async def list(self, plural: str) -> int:
        self.lists[plural] += 1
        return 99 + self.lists[plural]

    def pause(self, plural: str) -> float:
        self.pauses[plural] += 1
        return 0.01


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def server() -> FaultyServer:
    return FaultyServer()


@pytest.fixture
def seen() -> list[tuple[str, str]]:
    """What the operator was told: kind and name."""
    return []


@pytest.fixture(autouse=True)
def quick_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_pauses", SimpleNamespace(next=lambda: 0.05))


@contextlib.asynccontextmanager
async def watching_it(
    server: FaultyServer, listener: Listener, seen: list[tuple[str, str]], folder: Path, quiet_seconds: float = 60
) -> AsyncIterator[None]:
    async with answering_api_server(server.answer, folder) as kubeconfig:
        url = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]

        async def connection() -> Connection:
            return Connection(url, None, None, None, token="the same each time")

        operator = SimpleNamespace(
            connection=connection, see=lambda plural, _kind, raw: seen.append((plural, raw["metadata"]["name"]))
        )
        tasks = await start_watches(cast("Operator", operator), listener, "here", quiet_seconds)
        try:
            # At least one of each: those that are quiet for too long may be at their second.
            await eventually(lambda: server.watches.keys() == KINDS.keys())
            yield
            assert not any(task.done() for task in tasks), "kopf has ended"
        finally:
            for plural in KINDS:
                server.tell(plural, None)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=20)


def event(kind: str, name: str, version: int = 200) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"type": kind, "object": {"metadata": metadata}}


async def test_a_watch_goes_on_from_the_list_and_tells_every_sign_of_life(
    server: FaultyServer, listener: Listener, seen: list[tuple[str, str]], tmp_path: Path
) -> None:
    async with watching_it(server, listener, seen, tmp_path):
        assert listener.lists == dict.fromkeys(KINDS, 1)
        assert server.since == ["100"] * 4
        await eventually(lambda: all(listener.heard_of[plural] for plural in KINDS), why="an answer is a sign of life")
        before = listener.heard_of["pods"]
        server.tell("pods", event("ADDED", "pod-a"))
        server.tell("pods", {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "210"}}})
        await eventually(lambda: listener.heard_of["pods"] == before + 2)
        await eventually(lambda: seen == [("pods", "pod-a")])


async def test_every_event_is_handed_over_as_it_came_and_the_next_watch_goes_on_from_the_last(
    server: FaultyServer, listener: Listener, seen: list[tuple[str, str]], tmp_path: Path
) -> None:
    async with watching_it(server, listener, seen, tmp_path):
        for version, kind in enumerate(("ADDED", "MODIFIED", "DELETED"), 201):
            server.tell("pods", event(kind, f"{kind}-pod", version))
        await eventually(lambda: [name for _, name in seen] == ["ADDED-pod", "MODIFIED-pod", "DELETED-pod"])
        server.tell("pods", None)
        await eventually(lambda: server.watches["pods"] == 2)
        assert server.since[-1] == "203"
        assert listener.lists["pods"] == 1


async def test_an_event_that_cannot_be_taken_in_does_not_end_the_watch(
    server: FaultyServer,
    listener: Listener,
    seen: list[tuple[str, str]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with watching_it(server, listener, seen, tmp_path):
        server.tell("pods", {"type": "ADDED", "object": {"metadata": {}}})
        server.tell("pods", event("ADDED", "after"))
        await eventually(lambda: seen == [("pods", "after")])
    assert "an event could not be taken in" in caplog.text


@pytest.mark.parametrize("code", [500, 504, 410])
async def test_an_error_on_a_watch_is_a_new_list_of_that_kind_alone(
    code: int, server: FaultyServer, listener: Listener, seen: list[tuple[str, str]], tmp_path: Path
) -> None:
    async with watching_it(server, listener, seen, tmp_path):
        server.tell("pods", {"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "leader changed"}})
        await eventually(lambda: server.watches["pods"] == 2)
        assert listener.lists == {**dict.fromkeys(KINDS, 1), "pods": 2}
        assert server.since[-1] == "101"
        server.tell("pods", event("ADDED", "after"))
        await eventually(lambda: seen == [("pods", "after")])
        assert listener.pauses["pods"] == 1, "this watch had hardly begun"


async def test_a_watch_that_is_refused_since_its_version_is_too_old_is_a_new_list(
    server: FaultyServer, listener: Listener, seen: list[tuple[str, str]], tmp_path: Path
) -> None:
    async with watching_it(server, listener, seen, tmp_path):
        server.too_old["pods"] = 2
        server.tell("pods", None)
        await eventually(lambda: server.watches["pods"] == 4)
        assert listener.lists == {**dict.fromkeys(KINDS, 1), "pods": 3}
        assert listener.pauses["pods"] == 3, "each ended at once"
        server.tell("pods", event("ADDED", "after"))
        await eventually(lambda: seen == [("pods", "after")])


async def test_a_401_for_a_token_that_is_good_again_ends_nothing(
    server: FaultyServer, listener: Listener, seen: list[tuple[str, str]], tmp_path: Path
) -> None:
    async with watching_it(server, listener, seen, tmp_path):
        server.unauthorized = True
        for plural in KINDS:
            server.tell(plural, None)  # so that each watch is asked for anew
        await eventually(lambda: server.refused > 20)
        server.unauthorized = False
        await eventually(lambda: all(count >= 2 for count in server.watches.values()))
        server.tell("voicesessions", event("ADDED", "after"))
        await eventually(lambda: ("voicesessions", "after") in seen)


async def test_a_quiet_watch_is_asked_for_anew(
    server: FaultyServer, listener: Listener, seen: list[tuple[str, str]], tmp_path: Path
) -> None:
    async with watching_it(server, listener, seen, tmp_path, quiet_seconds=0.2):
        await eventually(lambda: all(count >= 3 for count in server.watches.values()))
        assert listener.lists == dict.fromkeys(KINDS, 1)


async def test_watches_that_end_at_once_are_not_asked_for_in_a_storm(
    server: FaultyServer, listener: Listener, seen: list[tuple[str, str]], tmp_path: Path
) -> None:
    async with watching_it(server, listener, seen, tmp_path):
        listener.pause = lambda plural: listener.pauses.update([plural]) or 5  # type: ignore[method-assign]
        server.tell("pods", None)
        await eventually(lambda: listener.pauses["pods"] == 1)
        await stays(lambda: server.watches["pods"] == 1, 0.2, "it was asked for at once")


def test_kopf_tries_for_ever_and_no_less_often_than_the_lease_is_asked_for() -> None:
    pauses = list(itertools.islice(handlers.EndlessBackoff(), 1_000))
    assert len(pauses) == 1_000
    assert max(pauses) <= lease.LOOK_SECONDS
