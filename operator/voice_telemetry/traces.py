"""Spans of a call, sent to a collector by OTLP over HTTP: off, and without a cost, where no endpoint is set.

A call has one trace. Its id, and those of the spans that others are below, follow from what every part knows the call
by: the call id of its ticket, or the VoiceSession's uid where somebody made it by hand. So nothing has to travel, no
part waits for another, and who goes on after a crash goes on in the same trace. No span has a word of a conversation.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

# What a span says besides its name and times: names and numbers.
Attributes = Mapping[str, str | int | float | bool]

_SCOPE = "voice-agent"
_FLUSH_MILLIS = 2000


@dataclass(frozen=True, slots=True)
class CallTrace:
    """The trace of one call. `seed`: the call id of its ticket, or the VoiceSession's uid."""

    seed: str

    @property
    def trace_id(self) -> int:
        """Returns the trace's id: 128 bits."""
        return int.from_bytes(_digest(f"trace:{self.seed}")[:16])

    @property
    def root(self) -> int:
        """Returns the id of the span of the whole call: 64 bits."""
        return self._span_id("call")

    def attempt(self, number: int) -> int:
        """Returns the id of the span of one agent's part of the call."""
        return self._span_id(f"attempt:{number}")

    def traceparent(self, number: int) -> str:
        """Returns what an agent's own spans are below, as W3C Trace Context has it."""
        return f"00-{self.trace_id:032x}-{self.attempt(number):016x}-01"

    def _span_id(self, name: str) -> int:
        return int.from_bytes(_digest(f"{name}:{self.seed}")[:8])


@dataclass(slots=True)
class _Sender:
    processor: "SpanProcessor | None" = None
    resource: "Resource | None" = None


_sender = _Sender()


def start_traces(part: str, endpoint: str) -> None:
    """Has spans sent to `endpoint`, a collector's OTLP base URL; does nothing where it is empty.

    `part`: the service's name. Headers and the like are OpenTelemetry's own variables, `OTEL_EXPORTER_OTLP_…`.
    """
    if not endpoint:
        return
    _sender.resource = _build_resource(part)
    _sender.processor = _build_processor(endpoint)


def build_provider(part: str, endpoint: str) -> "TracerProvider":
    """Returns what gives tracers to code that has spans of its own, and sends them to `endpoint`."""
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    provider = TracerProvider(resource=_build_resource(part))
    provider.add_span_processor(_build_processor(endpoint))
    return provider


# Where nothing is traced, nobody pays for these imports.


def _build_resource(part: str) -> "Resource":
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    return Resource.create({"service.name": part})


def _build_processor(endpoint: str) -> "SpanProcessor":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    return BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces"))


def end_traces() -> None:
    """Sends what waits, within two seconds, and sends nothing more."""
    if _sender.processor:
        _sender.processor.force_flush(_FLUSH_MILLIS)
        _sender.processor.shutdown()
    _sender.processor = None


def are_on() -> bool:
    """Tells whether spans are sent."""
    return _sender.processor is not None


def tell_span(
    call: CallTrace,
    name: str,
    began: datetime,
    ended: datetime,
    *,
    span_id: int | None = None,
    parent: int | None = None,
    attributes: Attributes | None = None,
    failed: str = "",
) -> None:
    """Has a span sent that is over. By itself below the call's own; `failed`: a word for why, no sentence.

    `span_id`: where others are below it. `parent`: 0 for none.
    """
    if _sender.processor is None:
        return
    _sender.processor.on_end(_build_span(call, name, began, ended, span_id, parent, attributes or {}, failed))


def _build_span(
    call: CallTrace,
    name: str,
    began: datetime,
    ended: datetime,
    span_id: int | None,
    parent: int | None,
    attributes: Attributes,
    failed: str,
) -> "ReadableSpan":
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415
    from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags  # noqa: PLC0415

    def context(identifier: int) -> SpanContext:
        return SpanContext(call.trace_id, identifier, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    own = span_id or int.from_bytes(_digest(f"{name}:{began.timestamp()}:{call.seed}")[:8])
    above = call.root if parent is None else parent
    return ReadableSpan(
        name,
        context=context(own),
        parent=context(above) if above else None,
        resource=_sender.resource,
        attributes=dict(attributes),
        status=Status(StatusCode.ERROR, failed) if failed else Status(StatusCode.UNSET),
        start_time=_nanoseconds(began),
        end_time=_nanoseconds(max(began, ended)),
        instrumentation_scope=InstrumentationScope(_SCOPE),
    )


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
