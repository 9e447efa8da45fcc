"""The HTTP server for callers, which leaves signals to whoever starts it."""

import contextlib
from collections.abc import Iterator, Sequence

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


def build_server(app: ASGIApp, host: str, port: int, trusted_proxies: Sequence[str] = ()) -> Server:
    """Returns a server for `app`; `serve` runs it until `should_exit` is set.

    `trusted_proxies`: networks whose `X-Forwarded-For` tells the caller's address. Anybody may write that header, so
    without them nobody's is read.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    return Server(config)
