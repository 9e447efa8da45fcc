"""A collector that takes whatever spans come: `python -m benchmarks.span_counter PORT`; `GET /` says how much came."""

import sys

from aiohttp import web

from local_cluster.ports import LOOPBACK


def build_app() -> web.Application:
    """Returns the application."""
    batches: list[int] = []

    async def take(request: web.Request) -> web.Response:
        batches.append(len(await request.read()))
        return web.Response()

    async def tell(_request: web.Request) -> web.Response:
        return web.json_response({"batches": len(batches), "bytes": sum(batches)})

    app = web.Application(client_max_size=16 * 2**20)
    app.add_routes([web.post("/v1/traces", take), web.get("/", tell)])
    return app


if __name__ == "__main__":
    web.run_app(build_app(), host=LOOPBACK, port=int(sys.argv[1]), print=None)
