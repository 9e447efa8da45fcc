"""A collector of spans: OTLP over HTTP in, plain values out."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from local_cluster.ports import LOOPBACK
from testing.web_server import serving
from voice_telemetry.traces import CallTrace, end_traces, start_traces


@dataclass(frozen=True)
class SentSpan:
    """One span as it was sent. `text`: all of it, for looking for what must not be in it. Times in seconds."""

    service: str
    scope: str  # whose code told it
    name: str
    trace: str
    id: str
    parent: str
    began: float
    ended: float
    failed: bool
    links: tuple[str, ...]  # the traces that it names besides its own
    text: str


@dataclass
class Collector:
    """What was sent so far. `data`: every byte of it, unpacked."""

    url: str = ""
    spans: list[SentSpan] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)

    def of(self, trace: CallTrace) -> list[SentSpan]:
        """Returns the spans of a call."""
        return [span for span in self.spans if span.trace == f"{trace.trace_id:032x}"]

    async def take(self, request: web.Request) -> web.Response:
        """Takes a batch."""
        data = await request.read()  # aiohttp has unpacked it, unless a client says nothing of its packing
        packed = data[:2] == b"\x1f\x8b"
        unpacked = gzip.decompress(data) if packed else data
        self.data.extend(unpacked)
        self.spans.extend(_read(unpacked))
        return web.Response()


def _read(data: bytes) -> Iterator[SentSpan]:
    for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
        attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _read_span(attributes.get("service.name", ""), scope.scope.name, span)


def _read_span(service: str, scope: str, span: Span) -> SentSpan:
    return SentSpan(
        service=service,
        scope=scope,
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        began=span.start_time_unix_nano / 1e9,
        ended=span.end_time_unix_nano / 1e9,
        failed=span.status.code == 2,
        links=tuple(link.trace_id.hex() for link in span.links),
        text=str(span),
    )


@asynccontextmanager
async def collecting(part: str) -> AsyncIterator[Collector]:
    """Yields a collector to which this process sends the spans of its `part`."""
    async with running_collector() as running:
        start_traces(part, running.url)
        try:
            yield running
        finally:
            await asyncio.to_thread(end_traces)  # it sends what waits, which is taken in this loop


@asynccontextmanager
async def running_collector(address: str = LOOPBACK, port: int = 0) -> AsyncIterator[Collector]:
    """Yields a collector that takes spans at its `url`."""
    collector = Collector()
    app = web.Application(client_max_size=16 * 2**20)
    app.router.add_post("/v1/traces", collector.take)
    async with serving(app, address, port) as taken:
        collector.url = f"http://{address}:{taken}"
        yield collector


@contextmanager
def collector_beside(address: str, port: int) -> Iterator[Collector]:
    """Yields a collector in a thread of its own, for who has no event loop."""
    loop, ready, ending = asyncio.new_event_loop(), Future[Collector](), asyncio.Event()

    async def run() -> None:
        async with running_collector(address, port) as collector:
            ready.set_result(collector)
            await ending.wait()

    def serve() -> None:
        try:
            loop.run_until_complete(run())
        except OSError as error:
            ready.set_exception(error)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield ready.result(10)
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(10)
        loop.close()
