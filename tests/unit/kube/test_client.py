"""The client before a server of a few lines that answers as no healthy API server would."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from kube.client import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    KubernetesApi,
    KubernetesError,
    KubernetesUnavailableError,
    NotFoundError,
    Raw,
    ThrottledError,
    WatchExpiredError,
)
from testing.answering_api_server import Answer, answering_api_server, say_not_found, write_kubeconfig
from voicesession.names import VOICE_SESSIONS


@contextlib.asynccontextmanager
async def before(answer: Answer, folder: Path, **more: Any) -> AsyncIterator[KubernetesApi]:
    """Connects a client to a server that answers each request so."""
    async with answering_api_server(answer, folder) as kubeconfig, connected(kubeconfig, **more) as api:
        yield api


@contextlib.asynccontextmanager
async def connected(kubeconfig: Path, **more: Any) -> AsyncIterator[KubernetesApi]:
    api = await KubernetesApi.connect("here", kubeconfig, **more)
    yield api
    await api.close()


def refuse(status: int) -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "message": "its own words"}, status=status)

    return answer


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, KubernetesError),
        (403, ForbiddenError),
        (409, ConflictError),
        (410, WatchExpiredError),
        (422, InvalidError),
    ],
)
async def test_a_refusal_has_the_class_of_its_status_and_the_api_server_s_words(
    status: int, kind: type[KubernetesError], tmp_path: Path
) -> None:
    answers: list[tuple[str, int]] = []
    async with before(refuse(status), tmp_path, on_response=lambda *answer: answers.append(answer)) as api:
        with pytest.raises(KubernetesError) as refused:
            await api.get_session("call")
    assert type(refused.value) is kind
    assert refused.value.status == status
    assert refused.value.message.endswith("/voicesessions/call: its own words")
    assert answers == [("GET", status)]


async def test_what_is_said_not_to_be_there_is_not_found(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return say_not_found(request)

    async with before(answer, tmp_path) as api:
        with pytest.raises(NotFoundError):
            await api.get_session("call")
        with pytest.raises(NotFoundError):
            await api.patch_status(VOICE_SESSIONS, "call", "1", {})


@pytest.mark.parametrize(
    "body",
    [
        "404 page not found\n",
        '{"message": "the server could not find the requested resource", "details": {}}',
        '{"message": "gone", "details": {"kind": "namespaces", "name": "call"}}',
        '{"message": "gone", "details": {"kind": "voicesessions", "name": "another-call"}}',
        '{"message": "gone", "details": null}',
        "[]",
    ],
)
async def test_a_404_that_is_not_of_the_object_says_nothing_of_it(body: str, tmp_path: Path) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=body, status=404)

    async with before(answer, tmp_path) as api:
        with pytest.raises(KubernetesUnavailableError, match="404"):
            await api.get_session("call")


@pytest.mark.parametrize("status", [500, 503])
async def test_an_api_server_that_cannot_say_is_unavailable(status: int, tmp_path: Path) -> None:
    async with before(refuse(status), tmp_path) as api:
        with pytest.raises(KubernetesUnavailableError, match="its own words"):
            await api.get_session("call")


@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {}, {"Retry-After": "soon"}])
async def test_an_api_server_without_time_is_asked_again(
    headers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kube.client._THROTTLED_SECONDS", 0.01)
    statuses = iter([429, 429, 200])

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({}, status=next(statuses), headers=headers)

    async with before(answer, tmp_path) as api:
        assert await api.create_session({}) == {}
    assert list(statuses) == []


async def test_one_that_wants_more_time_than_a_request_has_is_told_as_such(tmp_path: Path) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({}, status=429, headers={"Retry-After": "60"})

    async with before(answer, tmp_path) as api:
        with pytest.raises(ThrottledError):
            await api.create_session({})


async def test_a_refusal_that_is_no_json_is_told_as_it_is(tmp_path: Path) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="<h1>blocked</h1>", status=403)

    async with before(answer, tmp_path) as api:
        with pytest.raises(ForbiddenError, match="<h1>blocked</h1>"):
            await api.get_session("call")


async def test_an_answer_that_is_no_json_leaves_open_whether_it_was_done(tmp_path: Path) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text='{"half": ')

    async with before(answer, tmp_path) as api:
        with pytest.raises(KubernetesUnavailableError, match="JSONDecodeError"):
            await api.create_session({})


async def test_no_answer_within_its_time_is_unavailable(tmp_path: Path) -> None:
    ending = asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        await ending.wait()
        return web.Response()

    async with before(answer, tmp_path, timeout_seconds=0.1) as api:
        with pytest.raises(KubernetesUnavailableError, match="TimeoutError"):
            await api.get_session("call")
        ending.set()


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    async with connected(write_kubeconfig(tmp_path, "http://127.0.0.1:9")) as api:
        with pytest.raises(KubernetesUnavailableError, match="/voicesessions/call: ClientConnectorError"):
            await api.get_session("call")


# Watches


def tell(*events: Raw, then: Callable[[web.Request], Awaitable[None]] | None = None) -> Answer:
    """Answers a watch with these events and, after them, does something instead of ending it in good order."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            await response.write(json.dumps(event).encode() + b"\n")
        if then:
            await then(request)
        return response

    return answer


def event(kind: str, name: str) -> Raw:
    return {"type": kind, "object": {"metadata": {"name": name}}}


def error_event(code: int) -> Raw:
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "its own words"}}


async def watch(api: KubernetesApi, told: list[Raw]) -> None:
    async for each in api.watch_objects(VOICE_SESSIONS, 7):
        told.append(each)  # noqa: PERF401 - what came before an error counts too


async def test_a_watch_tells_events_until_the_api_server_ends_it(tmp_path: Path) -> None:
    events, told = [event("ADDED", "one"), event("BOOKMARK", ""), event("DELETED", "one")], list[Raw]()
    queries = []

    async def answer(request: web.Request) -> web.StreamResponse:
        queries.append(dict(request.query))
        return await tell(*events)(request)

    async with before(answer, tmp_path) as api:
        await watch(api, told)
    assert told == events
    assert queries == [
        {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "7", "timeoutSeconds": "300"}
    ]


async def test_a_watch_that_breaks_tells_what_came_before(tmp_path: Path) -> None:
    async def break_off(request: web.Request) -> None:
        assert request.transport is not None
        request.transport.abort()

    told: list[Raw] = []
    async with before(tell(event("ADDED", "one"), then=break_off), tmp_path) as api:
        with pytest.raises(KubernetesUnavailableError, match="watch voicesessions"):
            await watch(api, told)
    assert [each["type"] for each in told] == ["ADDED"]


async def test_a_watch_that_falls_silent_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kube.client._SILENCE_SECONDS", 0.2)
    ending, told = asyncio.Event(), list[Raw]()

    async def fall_silent(_request: web.Request) -> None:
        await ending.wait()

    async with before(tell(event("ADDED", "one"), then=fall_silent), tmp_path) as api:
        await watch(api, told)
        ending.set()
    assert len(told) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (tell(event("ADDED", "one"), error_event(410)), WatchExpiredError),
        (refuse(410), WatchExpiredError),
        (tell(error_event(500)), KubernetesUnavailableError),
        (refuse(403), ForbiddenError),
    ],
)
async def test_a_watch_ends_with_the_error_that_the_api_server_tells(
    answer: Answer, kind: type[Exception], tmp_path: Path
) -> None:
    async with before(answer, tmp_path) as api:
        with pytest.raises(kind, match="its own words"):
            await watch(api, [])
