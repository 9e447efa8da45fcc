"""What becomes of a status that the API server does not take as it is."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from aiohttp import web

from kube.client import KubernetesApi
from testing.answering_api_server import Answer
from testing.operator_objects import NOW, make_session
from testing.waiting import eventually
from voice_operator.cache import Cache
from voice_operator.calls.session_writer import Outcome, SessionWriter
from voice_operator.calls.status import report_waiting
from voice_operator.events import EventRecorder
from voice_operator.write_through import WriteThrough
from voicesession.conditions import Reason

SESSION = make_session()


@pytest.mark.parametrize(
    ("status", "outcome"), [(404, Outcome.CHANGED), (409, Outcome.CHANGED), (422, Outcome.REFUSED)]
)
async def test_what_the_api_server_says_of_a_status(
    open_kubernetes: Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]], status: int, outcome: Outcome
) -> None:
    events: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/events"):
            events.append(await request.json())
            return web.json_response({})
        name = SESSION.metadata.name
        return web.json_response(
            {"message": "status.reason: Unsupported value", "details": {"name": name}},
            status=status if request.method == "PATCH" else 404,
        )

    async with open_kubernetes(answer) as kubernetes:
        recorder = EventRecorder(kubernetes)
        recorder.start()
        writer = SessionWriter(WriteThrough(kubernetes, Cache()), recorder)
        report = report_waiting(SESSION, Reason.WAITING_FOR_POD, "No pod is ready.", NOW)
        assert await writer.write(SESSION, report) is outcome
        if outcome is Outcome.REFUSED:
            await eventually(lambda: events)
            assert events[0]["reason"] == "StatusRefused"
            assert "Unsupported value" in events[0]["message"]
        await recorder.stop()
