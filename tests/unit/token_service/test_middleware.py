"""What a request's log lines say of it, on a connection that has several."""

import asyncio

from starlette.types import Receive, Scope, Send

from local_cluster.ports import free_port
from testing.waiting import eventually
from testing.written_log import written_log
from token_service.http_servers import build_server
from token_service.middleware import RequestContext
from voice_telemetry.logs import add_to_log_context


async def answer(scope: Scope, _receive: Receive, send: Send) -> None:
    if scope["path"] == "/of-acme":
        add_to_log_context(tenant="acme")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def test_a_request_does_not_pass_for_that_of_whom_the_connection_served_before() -> None:
    port = free_port()
    server = build_server(RequestContext(answer, headers={}), "127.0.0.1", port)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    with written_log("token_service") as log:
        _, connection = await asyncio.open_connection("127.0.0.1", port)
        # The second is there before the first is answered, as a proxy of many callers may send it.
        connection.write(b"GET /of-acme HTTP/1.1\r\nHost: here\r\n\r\nGET /of-another HTTP/1.1\r\nHost: here\r\n\r\n")
        await eventually(lambda: len(log.lines) == 2)
        connection.close()
    server.should_exit = True
    await serving
    assert [line.get("tenant") for line in log.lines] == ["acme", None]
