"""Serves an aiohttp application on a free port, for as long as a test or a benchmark needs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from local_cluster.ports import LOOPBACK


@asynccontextmanager
async def serving(app: web.Application, address: str = LOOPBACK, port: int = 0) -> AsyncIterator[int]:
    """Yields the port; a free one for 0. Requests that are under way at the end have a second."""
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
