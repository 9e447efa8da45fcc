"""The customer of `helm test`, where there is no call to be had: it says what is to be looked at."""

import asyncio

import pytest
from aiohttp import web

from local_cluster.ports import LOOPBACK, free_port
from testing.web_server import serving
from voice_agent import trial


async def try_call(port: int) -> int:
    return await asyncio.to_thread(trial.main, [f"http://{LOOPBACK}:{port}"])


async def test_a_key_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"detail": "Send your key."}, status=401)

    app = web.Application()
    app.router.add_post("/api/connection-details", refuse)
    async with serving(app) as port:
        assert await try_call(port) == 1
    assert "test.apiKeySecret" in capsys.readouterr().err


async def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert await try_call(free_port()) == 1
    assert "the token service does not answer (POST /api/connection-details)" in capsys.readouterr().err


async def test_livekit_is_not_where_browsers_are_sent(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"ws://{LOOPBACK}:{free_port()}"

    async def send(_: web.Request) -> web.Response:
        details = {"serverUrl": url, "roomName": "r", "participantName": "p", "participantToken": "t"}
        return web.json_response(details, status=201)

    app = web.Application()
    app.router.add_post("/api/connection-details", send)
    async with serving(app) as port:
        assert await try_call(port) == 1
    assert f"LiveKit at {url}, where browsers are sent (livekit.publicUrl), is not reached" in capsys.readouterr().err
