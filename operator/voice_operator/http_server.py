"""Health and metrics of the operator over HTTP."""

from collections import Counter

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from voice_operator.app import Operator
from voice_operator.metrics import SESSIONS
from voicesession.models import Phase


def build_http_app(operator: Operator) -> web.Application:
    """Returns the application: /healthz, /readyz and /metrics."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(_request: web.Request) -> web.Response:
        if operator.synced:
            return web.Response(text="ok")
        return web.Response(status=503, text="the first lists are not complete")

    async def metrics(_request: web.Request) -> web.Response:
        phases = Counter(session.status.phase or Phase.PENDING for session in operator.cache.sessions.all())
        for phase in Phase:
            SESSIONS.labels(phase.value).set(phases[phase])
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app
