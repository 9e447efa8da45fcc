"""Events outlive an API server that is away for a while, and one that cannot be written holds up no other for ever."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from kube.client import KubernetesApi
from testing.answering_api_server import Answer
from testing.operator_objects import make_session
from testing.waiting import eventually
from voice_operator import events
from voice_operator.events import EventRecorder
from voice_operator.metrics import EVENTS_DROPPED

OpenKubernetes = Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]]
SESSION = make_session()


class Server:
    """Keeps the Events that it is sent while it is there."""

    def __init__(self) -> None:
        self.away = True
        self.asked = 0
        self.reasons: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.away:
            return web.json_response({}, status=503)
        event: dict[str, Any] = await request.json()
        self.reasons.append(event["reason"])
        return web.json_response(event, status=201)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "Backoff", lambda *_: SimpleNamespace(next=lambda: 0.01))


@asynccontextmanager
async def recording(server: Server, open_kubernetes: OpenKubernetes) -> AsyncIterator[EventRecorder]:
    async with open_kubernetes(server.answer) as kubernetes:
        recorder = EventRecorder(kubernetes)
        recorder.start()
        yield recorder
        await recorder.stop()


async def test_what_happens_while_the_api_server_is_away_is_told_afterwards(open_kubernetes: OpenKubernetes) -> None:
    server = Server()
    async with recording(server, open_kubernetes) as recorder:
        recorder.record(SESSION, "Normal", "AgentJoined", "it is there")
        recorder.record(SESSION, "Normal", "CallEnded", "it is over")
        await eventually(lambda: server.asked > 10)
        server.away = False
        await eventually(lambda: server.reasons == ["AgentJoined", "CallEnded"])


async def test_an_event_has_its_time(open_kubernetes: OpenKubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_PATIENCE_SECONDS", 0.1)
    server, dropped = Server(), EVENTS_DROPPED._value.get()
    async with recording(server, open_kubernetes) as recorder:
        recorder.record(SESSION, "Normal", "AgentJoined", "it is there")
        await eventually(lambda: EVENTS_DROPPED._value.get() == dropped + 1)
        server.away = False
        recorder.record(SESSION, "Normal", "CallEnded", "it is over")
        await eventually(lambda: server.reasons == ["CallEnded"])
