"""No request that changes something leaves a process that does not lead."""

from collections import Counter

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from voice_operator.gate import NotLeadingError, build_request_class


async def test_reads_pass_and_writes_only_while_it_leads() -> None:
    seen: Counter[str] = Counter()

    async def answer(request: web.Request) -> web.Response:
        seen[request.method] += 1
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/", answer)
    leading = True
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession(server.make_url("/"), request_class=build_request_class(lambda: leading)) as http,
    ):
        await http.post("/", data=b"x")
        leading = False
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            with pytest.raises(NotLeadingError, match=f"{method} /: this operator does not lead"):
                await http.request(method, "/")
        await http.get("/")
        leading = True
        await http.post("/", data=b"x")
    assert seen == {"POST": 2, "GET": 1}


async def test_what_waits_for_its_connection_is_not_sent_when_it_leads_no_more() -> None:
    app, leading = web.Application(), True

    async def connect_late(*_: object) -> None:
        nonlocal leading
        leading = False

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(connect_late)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession(
            server.make_url("/"), request_class=build_request_class(lambda: leading), trace_configs=[trace]
        ) as http,
    ):
        with pytest.raises(NotLeadingError):
            await http.post("/")
