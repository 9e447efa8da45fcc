"""The HTTP server for callers, which leaves signals to whoever starts it."""

import contextlib
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

_GRACE_SECONDS = 10
# Longer than proxies and clients keep an idle connection, so that they close it and never write into a closed one.
_KEEP_ALIVE_SECONDS = 75


class Server(uvicorn.Server):
    """A server that does not take the process's signals: the end has an order of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def build_server(app: ASGIApp, host: str, port: int) -> Server:
    """Returns a server for `app`; `serve` runs it until `should_exit` is set."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    return Server(config)
