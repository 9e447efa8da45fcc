"""A server that speaks OpenAI's interface oddly: under each path another oddity, so that many are tried at once."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from testing.web_server import serving

EVENTS = "text/event-stream"
JSON = "application/json"


@dataclass(frozen=True)
class Reply:
    """One HTTP answer. `pauses`: after so many pieces, it stands still; `is_cut`: it breaks off in the middle."""

    pieces: Sequence[bytes]
    media_type: str = EVENTS
    status: int = 200
    pauses_before_headers: bool = False
    pauses: bool = False
    is_cut: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class OddServer:
    """`replies`: by the first part of the path, what is answered in turn, the last of them again and again."""

    replies: Mapping[str, Sequence[Reply]]
    # What was asked, by the same.
    asked: dict[str, list[Any]] = field(default_factory=dict)
    port: int = 0
    _peers: set[object] = field(default_factory=set)
    _closing: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self._peers)

    def url(self, name: str) -> str:
        """Returns what a client of this oddity is given."""
        return f"http://127.0.0.1:{self.port}/{name}/v1"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answers as told."""
        name = request.match_info["name"]
        if request.transport is not None:
            self._peers.add(request.transport.get_extra_info("peername"))
        body = await request.read()
        asked = self.asked.setdefault(name, [])
        asked.append(json.loads(body) if request.content_type == JSON else body)
        replies = self.replies[name]
        return await send(replies[min(len(asked), len(replies)) - 1], request, self._closing)


async def send(reply: Reply, request: web.Request, closing: asyncio.Event) -> web.StreamResponse:
    """Answers with this reply; one that stands still does so until `closing`."""
    if reply.pauses_before_headers:
        await closing.wait()
    response = web.StreamResponse(status=reply.status, headers={**reply.headers, "Content-Type": reply.media_type})
    with contextlib.suppress(ConnectionResetError):  # the client has heard enough
        await response.prepare(request)
        for piece in reply.pieces:
            await response.write(piece)
        if reply.pauses:
            await closing.wait()
    if reply.is_cut and request.transport is not None:
        request.transport.abort()
    return response


@asynccontextmanager
async def running_odd_server(replies: Mapping[str, Sequence[Reply]]) -> AsyncIterator[OddServer]:
    """Serves on a free port of loopback."""
    server = OddServer(replies)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/{name}/v1/{path:.*}", server.answer)
    async with serving(app) as server.port:
        try:
            yield server
        finally:
            server._closing.set()


def stream(*chunks: Mapping[str, Any], ends: bool = True) -> Reply:
    """Returns server-sent events of these, with the last one that OpenAI sends."""
    return Reply([*(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks), *([b"data: [DONE]\n\n"] * ends)])


def delta(reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """Returns a chunk with this delta."""
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "odd",
        "choices": [{"index": 0, "delta": fields, "finish_reason": reason}],
    }


def call(name: str | None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    """Returns a part of a tool call."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"type": "function", "function": function, **fields}


def one_json(value: Any, status: int = 200) -> Reply:
    """Returns one document."""
    return Reply([json.dumps(value).encode()], JSON, status)
