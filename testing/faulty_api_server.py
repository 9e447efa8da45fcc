"""A reverse proxy before a real API server, by plain HTTP, that fails as no healthy one does."""

import asyncio
import contextlib
import json
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from kube.client import KubernetesApi
from testing.answering_api_server import write_kubeconfig

_READS = {"GET", "HEAD", "OPTIONS"}
# What concerns one connection, and is not handed on.
_HOP = {"accept-encoding", "connection", "content-encoding", "content-length", "host", "transfer-encoding"}


@dataclass(frozen=True)
class Write:
    """A request that changes something, as it came; `at` by the monotonic clock."""

    at: float
    method: str
    path: str


class FaultyApiServer:
    """What fails, until it is told otherwise.

    `unauthorized`: every request is answered 401. `writes`: what was sent to be changed.
    """

    def __init__(self) -> None:
        self.unauthorized = False
        self.writes: list[Write] = []
        self._lost: set[object] = set()  # watches that tell nothing any more, though they are open
        self._watches: dict[str, dict[object, web.StreamResponse]] = defaultdict(dict)
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._answers = asyncio.Event()
        self._answers.set()

    @property
    def changes(self) -> list[Write]:
        """Returns the writes, without those of Leases."""
        return [write for write in self.writes if "/leases" not in write.path]

    def count_watches(self) -> int:
        """Returns how many watches are open."""
        return sum(map(len, self._watches.values()))

    def freeze_open_watches(self) -> None:
        """Has the watches that are open stay open, and tell nothing any more; new ones are served."""
        self._lost |= {watch for watches in self._watches.values() for watch in watches}

    def freeze_watches(self) -> None:
        """Has every watch stay open and silent, new ones too, until `thaw`."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Has watches tell again what has happened."""
        self._thawed.set()

    def hang(self) -> None:
        """Answers nothing, until `go_on`; open watches tell nothing."""
        self._answers.clear()
        self._thawed.clear()

    def go_on(self) -> None:
        """Answers again, what came meanwhile too."""
        self._answers.set()
        self._thawed.set()

    async def tell_error(self, plural: str, code: int) -> None:
        """Sends an ERROR event to the open watches of this kind."""
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "leader changed"}
        line = json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
        for response in self._watches[plural].values():
            await response.write(line)

    async def serve(self, request: web.Request, upstream: aiohttp.ClientSession) -> web.StreamResponse:
        """Answers one request, by the real API server's answer if nothing fails."""
        if request.method not in _READS:
            self.writes.append(Write(time.monotonic(), request.method, request.path))
        await self._answers.wait()
        if self.unauthorized:
            return web.json_response({"kind": "Status", "status": "Failure", "code": 401}, status=401)
        watch = request.query.get("watch") == "true"
        if watch:
            await self._thawed.wait()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        body = await request.read()
        async with upstream.request(request.method, request.rel_url, data=body or None, headers=headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            if watch:
                await self._tell(request.path.rpartition("/")[2], answer, response)
            else:
                await response.write(await answer.read())
        return response

    async def _tell(self, plural: str, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
        watch = object()
        self._watches[plural][watch] = response
        try:
            async for data in answer.content.iter_any():
                await self._thawed.wait()
                if watch not in self._lost:
                    await response.write(data)
        finally:
            del self._watches[plural][watch]


@contextlib.asynccontextmanager
async def faulty_api_server(kubeconfig: Path, folder: Path) -> AsyncIterator[tuple[FaultyApiServer, Path]]:
    """Opens a proxy before the API server of `kubeconfig`; yields it and a kubeconfig that leads through it."""
    api = await KubernetesApi.connect("default", kubeconfig)
    connection = await api.connection()
    await api.close()
    tls = ssl.create_default_context(cafile=connection.ca_path)
    if connection.certificate_path:
        tls.load_cert_chain(connection.certificate_path, connection.private_key_path)
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    proxy, app = FaultyApiServer(), web.Application(client_max_size=2**24)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connection.server, connector=connector, timeout=timeout) as upstream:

        async def serve(request: web.Request) -> web.StreamResponse:
            return await proxy.serve(request, upstream)

        app.router.add_route("*", "/{path:.*}", serve)
        async with TestServer(app) as server:
            yield proxy, write_kubeconfig(folder, str(server.make_url("")))
