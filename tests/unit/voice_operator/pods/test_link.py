"""Links to pods that do not answer, and to many pods at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from testing.operator_objects import make_claimed_pod
from testing.waiting import eventually
from voice_operator.pods import client
from voice_operator.pods.client import OPENED_AT_ONCE, PodClient
from voice_operator.pods.link import RECONNECT_SECONDS_MAX, PodLink, retry_delay
from voice_operator.pods.link_view import LinkState
from voicesession import clock
from voicesession.assignment import Accepted, ApiRequest, Heartbeat, ModelFailed, PodEvent
from voicesession.measures import Measured

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[PodClient]:
    """Yields a client whose pods all answer a request for their events so."""
    app = web.Application()
    app.router.add_get("/events", answer)
    async with TestServer(app) as server:
        pods = PodClient(Ed25519PrivateKey.generate(), port=server.port or 0)
        try:
            yield pods
        finally:
            await pods.close()


async def tell(request: web.Request, *events: PodEvent) -> web.StreamResponse:
    """Sends these events and breaks off."""
    stream = web.StreamResponse()
    await stream.prepare(request)
    for event in events:
        await stream.write(event.model_dump_json(by_alias=True).encode() + b"\n")
    return stream


def follow(
    pods: PodClient,
    name: str = "pod-a",
    on_model_failed: Callable[[ModelFailed], None] = lambda _: None,
    on_api_request: Callable[[ApiRequest], None] = lambda _: None,
    on_measured: Callable[[Measured], None] = lambda _: None,
) -> PodLink:
    pod = make_claimed_pod(name, ip="127.0.0.1")
    return PodLink(
        pods,
        pod,
        None,
        resume=True,
        on_change=lambda: None,
        on_model_failed=on_model_failed,
        on_measured=on_measured,
        on_api_request=on_api_request,
    )


async def hang(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_port_that_takes_connections_and_answers_nothing_is_told_from_a_lost_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS_MAX", 0.05)
    async with answering(hang) as pods:
        link = follow(pods)
        await eventually(lambda: link.view.state is LinkState.SILENT)
        assert link.view.unanswered_since is not None
        assert link.view.unanswered_since <= clock.steady()
        await link.close()


async def test_a_sign_of_life_ends_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS_MAX", 0.05)
    answers = iter([hang, hang])

    async def hang_then_tell(request: web.Request) -> web.StreamResponse:
        first = next(answers, None)
        if first:
            return await first(request)
        stream = web.StreamResponse()
        await stream.prepare(request)
        for event in (Accepted(at=clock.now()), Heartbeat(at=clock.now())):
            await stream.write(event.model_dump_json(by_alias=True).encode() + b"\n")
        return await hang(request)

    async with answering(hang_then_tell) as pods:
        link = follow(pods)
        await eventually(lambda: link.view.state is LinkState.FOLLOWING)
        assert (link.view.accepted, link.view.unanswered_since) == (True, None)
        await link.close()


async def test_a_failed_model_is_told_once_however_often_the_pod_tells_everything() -> None:
    failed = ModelFailed(at=clock.now(), provider="openai", part="llm")
    asked = 0

    async def tell_and_break_off(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return await tell(request, Accepted(at=failed.at - timedelta(seconds=1)), failed)

    told: list[ModelFailed] = []
    async with answering(tell_and_break_off) as pods:
        link = follow(pods, on_model_failed=told.append)
        await eventually(lambda: asked >= 3)
        assert told == [failed]
        await link.close()


async def test_what_a_pod_measures_is_taken_whatever_its_clock_says() -> None:
    measured = [Measured(at=clock.now() - timedelta(seconds=number), replies=number) for number in (1, 2)]
    beat = Heartbeat(at=clock.now(), unwritten_items=3, memory_bytes=5)

    async def tell_and_hang(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        for event in (Accepted(at=clock.now()), *measured, beat):
            await stream.write(event.model_dump_json(by_alias=True).encode() + b"\n")
        return await hang(request)

    told: list[Measured] = []
    async with answering(tell_and_hang) as pods:
        link = follow(pods, on_measured=told.append)
        await eventually(lambda: link.heartbeat == beat)
        assert told == measured
        await link.close()


async def test_a_request_is_taken_once_however_often_it_is_told_and_whatever_the_pods_clock_says() -> None:
    asked = 0

    async def ask_and_break_off(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        times = [(number, clock.now() - timedelta(seconds=number)) for number in range(1, asked + 1)]
        events = (ApiRequest(at=at, number=number, method="RoomService/SendData", body=b"") for number, at in times)
        return await tell(request, *events)

    taken: list[int] = []
    async with answering(ask_and_break_off) as pods:
        link = follow(pods, on_api_request=lambda request: taken.append(request.number))
        await eventually(lambda: len(taken) >= 3)
        assert taken == list(range(1, len(taken) + 1))
        await link.close()


async def test_thousands_of_links_are_opened_through_a_gate() -> None:
    asked, most, gate = 0, 0, asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        nonlocal asked, most
        asked += 1
        most = max(most, asked)
        await gate.wait()
        stream = web.StreamResponse()
        await stream.prepare(request)
        asked -= 1
        await stream.write(Accepted(at=clock.now()).model_dump_json(by_alias=True).encode() + b"\n")
        return await hang(request)

    async with answering(wait) as pods:
        links = [follow(pods, f"pod-{number}") for number in range(3 * OPENED_AT_ONCE)]
        await eventually(lambda: asked == OPENED_AT_ONCE)
        gate.set()
        await eventually(lambda: all(link.view.state is LinkState.FOLLOWING for link in links))
        assert most <= OPENED_AT_ONCE
        await asyncio.gather(*(link.close() for link in links))


def test_a_silent_pod_is_asked_more_and_more_seldom_but_never_given_up() -> None:
    delays = [retry_delay(failures) for failures in (2, 3, 4, 5, 6, 1000)]
    for delay, meant in zip(delays, (0.5, 1, 2, 4, RECONNECT_SECONDS_MAX, RECONNECT_SECONDS_MAX), strict=True):
        assert meant / 2 <= delay <= meant * 1.5
