"""A collector of spans: OTLP over HTTP in, plain values out."""

import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from local_cluster.ports import LOOPBACK
from testing.web_server import serving


@dataclass(frozen=True)
class SentSpan:
    """One span as it was sent. `text`: all of it, for looking for what must not be in it. Times in seconds."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    began: float
    ended: float
    failed: bool
    text: str


@dataclass
class Collector:
    """What was sent so far."""

    url: str = ""
    spans: list[SentSpan] = field(default_factory=list)

    def names(self, trace: str) -> set[str]:
        """Returns the names of a trace's spans."""
        return {span.name for span in self.spans if span.trace == trace}

    async def take(self, request: web.Request) -> web.Response:
        """Takes a batch."""
        data = await request.read()  # aiohttp has unpacked it, unless a client says nothing of its packing
        packed = data[:2] == b"\x1f\x8b"
        self.spans.extend(_read(gzip.decompress(data) if packed else data))
        return web.Response()


def _read(data: bytes) -> Iterator[SentSpan]:
    for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
        attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _read_span(attributes.get("service.name", ""), span)


def _read_span(service: str, span: Span) -> SentSpan:
    return SentSpan(
        service=service,
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        began=span.start_time_unix_nano / 1e9,
        ended=span.end_time_unix_nano / 1e9,
        failed=span.status.code == 2,
        text=str(span),
    )


@asynccontextmanager
async def running_collector() -> AsyncIterator[Collector]:
    """Yields a collector that takes spans at its `url`."""
    collector = Collector()
    app = web.Application(client_max_size=16 * 2**20)
    app.router.add_post("/v1/traces", collector.take)
    async with serving(app) as port:
        collector.url = f"http://{LOOPBACK}:{port}"
        yield collector
