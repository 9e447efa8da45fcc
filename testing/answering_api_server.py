"""An API server of a few lines, for answers that no healthy one gives; without TLS, rights or objects."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def answering_api_server(answer: Answer, folder: Path) -> AsyncIterator[Path]:
    """Answers every request so; yields a kubeconfig for it, in `folder`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield write_kubeconfig(folder, str(server.make_url("")))


def say_not_found(request: web.Request) -> web.Response:
    """Answers that the object of this request is not there, as an API server does."""
    kind, name = request.path.removesuffix("/status").split("/")[-2:]
    status = {"kind": "Status", "code": 404, "reason": "NotFound", "details": {"kind": kind, "name": name}}
    return web.json_response({**status, "message": f"{kind} {name!r} not found"}, status=404)


def write_kubeconfig(folder: Path, url: str) -> Path:
    """Writes a kubeconfig of a server without TLS or users."""
    kubeconfig = {
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
        "current-context": "here",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))
    return path
