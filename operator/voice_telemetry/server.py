"""The HTTP of every part of the control plane: /healthz, /readyz and /metrics."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import REGISTRY, disable_created_metrics
from prometheus_client.exposition import choose_encoder

# Returns what is missing, as a sentence, or None where nothing is.
Check = Callable[[], str | None]


def build_health_app(
    *, is_live: Check, is_ready: Check, before_scrape: Callable[[], None] = lambda: None
) -> web.Application:
    """Returns the application. What is missing is answered as 503; `before_scrape` brings gauges up to date."""

    # A series more for each counter and histogram, of which this format's readers make nothing.
    disable_created_metrics()  # type: ignore[no-untyped-call]

    async def healthz(_request: web.Request) -> web.Response:
        return _answer(is_live())

    async def readyz(_request: web.Request) -> web.Response:
        return _answer(is_ready())

    async def metrics(request: web.Request) -> web.Response:
        before_scrape()
        # OpenMetrics for who asks for it, as Prometheus does: the other format has no exemplars.
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(REGISTRY), headers={"Content-Type": content_type})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


@asynccontextmanager
async def serving(app: web.Application, port: int, host: str | None = None) -> AsyncIterator[None]:
    """Serves the application meanwhile, at every address unless `host` names one.

    Raises:
        OSError: the port cannot be had.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def _answer(missing: str | None) -> web.Response:
    return web.Response(text="ok\n") if missing is None else web.Response(status=503, text=f"{missing}\n")
