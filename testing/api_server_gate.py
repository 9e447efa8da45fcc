"""An HTTP door before the real API server that a test's process goes through: it sees each request before and after."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client, config

from testing.answering_api_server import write_kubeconfig

# What belongs to one connection, or to a body as it was sent.
_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "host", "accept-encoding"}


class Gate:
    """Forwards everything. A request of which `before` or `after` says so is left without an answer.

    Both are told the request's method, its path and its body; `before` it is sent on, `after` the API server has
    answered.
    """

    def __init__(self) -> None:
        self.before: Callable[[str, str, bytes], bool] = lambda _method, _path, _body: False
        self.after: Callable[[str, str, bytes], bool] = lambda _method, _path, _body: False


@contextlib.asynccontextmanager
async def gated_api_server(kubeconfig: Path, folder: Path) -> AsyncIterator[tuple[Gate, Path]]:
    """Opens a gate before the API server of `kubeconfig`; yields it and a kubeconfig, in `folder`, that leads there."""
    configuration = client.Configuration()
    await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    assert configuration.cert_file is not None  # the tests' API server signs its user in so
    context.load_cert_chain(configuration.cert_file, configuration.key_file)
    gate = Gate()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as http:

        async def forward(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            if gate.before(request.method, request.path, body):
                return _leave_unanswered(request)
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
            url = configuration.host + request.raw_path
            async with http.request(request.method, url, data=body or None, headers=headers) as answer:
                if gate.after(request.method, request.path, body):
                    return _leave_unanswered(request)
                response = web.StreamResponse(status=answer.status)
                response.content_type = answer.content_type
                await response.prepare(request)
                with contextlib.suppress(ConnectionError):
                    async for chunk in answer.content.iter_any():
                        await response.write(chunk)
                return response

        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", forward)
        async with TestServer(app) as server:
            yield gate, write_kubeconfig(folder, str(server.make_url("")))


def _leave_unanswered(request: web.Request) -> web.Response:
    if request.transport:
        request.transport.abort()
    return web.Response()
