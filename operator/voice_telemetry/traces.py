"""Spans of a call, sent to a collector by OTLP over HTTP: off, and without a cost, where no endpoint is set.

A call has one trace. Its id, and those of the spans that others are below, follow from what every part knows the call
by: the call id of its ticket, or the VoiceSession's uid where somebody made it by hand. So nothing has to travel, no
part waits for another, and who goes on after a crash goes on in the same trace. A caller who has a trace of their own
has the call in it: the span that it is below goes along, in the ticket and in an annotation. No span has a word of a
conversation.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
    from opentelemetry.trace import SpanContext

# What a span says besides its name and times: names and numbers.
Attributes = Mapping[str, str | int | float | bool]

_SCOPE = "voice-agent"
_SEND_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class CallTrace:
    """The trace of one call. `seed`: the call id of its ticket, or the VoiceSession's uid.

    `caller`: a `traceparent` of W3C Trace Context, whose span the call is below. One that is none, or is not sampled,
    is as if there were none.
    """

    seed: str
    caller: str | None = None

    @property
    def trace_id(self) -> int:
        """Returns the trace's id: 128 bits."""
        caller = _read_traceparent(self.caller)
        return caller.trace_id if caller else int.from_bytes(_digest(f"trace:{self.seed}")[:16])

    @property
    def above(self) -> int:
        """Returns the id of the span that the call's own is below; 0 for none."""
        caller = _read_traceparent(self.caller)
        return caller.span_id if caller else 0

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

    # At the process's end it would wait for the collector for as long as its exporter tries.
    provider = TracerProvider(resource=_build_resource(part), shutdown_on_exit=False)
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
        runs_in_time(_sender.processor.shutdown)
    _sender.processor = None


def runs_in_time(send: Callable[[], object]) -> bool:
    """Has what waits sent by `send`, and returns within two seconds whether it was.

    OpenTelemetry's own limit does not count while a request is under way: a collector that is away would hold whoever
    ends for as long as its exporter tries.
    """
    thread = threading.Thread(target=send, name="last spans", daemon=True)
    thread.start()
    thread.join(_SEND_SECONDS)
    return not thread.is_alive()


def are_on() -> bool:
    """Tells whether spans are sent."""
    return _sender.processor is not None


def accept_traceparent(header: str | None) -> str | None:
    """Returns a request's `traceparent` as a call may keep it; None where it names no sampled span, or traces are off.

    Whatever else the header says is left out.
    """
    caller = _read_traceparent(header) if are_on() else None
    return f"00-{caller.trace_id:032x}-{caller.span_id:016x}-01" if caller else None


def build_exemplar(call: CallTrace | None) -> dict[str, str] | None:
    """Returns what leads from a histogram to this call's trace; None where there is none, or traces are off."""
    return {"trace_id": f"{call.trace_id:032x}"} if call and are_on() else None


def _read_traceparent(text: str | None) -> "SpanContext | None":
    if not text:
        return None
    from opentelemetry.trace import get_current_span  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    found = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": text})).get_span_context()
    return found if found.is_valid and found.trace_flags.sampled else None


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
    link: str | None = None,
) -> None:
    """Has a span sent that is over. By itself below the call's own; `failed`: a word for why, no sentence.

    `span_id`: where others are below it. `parent`: 0 for none. `link`: a `traceparent` to which it has to do.
    """
    if _sender.processor is None:
        return
    _sender.processor.on_end(_build_span(call, name, began, ended, span_id, parent, attributes or {}, failed, link))


def _build_span(
    call: CallTrace,
    name: str,
    began: datetime,
    ended: datetime,
    span_id: int | None,
    parent: int | None,
    attributes: Attributes,
    failed: str,
    link: str | None,
) -> "ReadableSpan":
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415
    from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags  # noqa: PLC0415

    trace_id, linked = call.trace_id, _read_traceparent(link)

    def context(identifier: int) -> SpanContext:
        return SpanContext(trace_id, identifier, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    own = span_id or int.from_bytes(_digest(f"{name}:{began.timestamp()}:{call.seed}")[:8])
    above = call.root if parent is None else parent
    return ReadableSpan(
        name,
        context=context(own),
        parent=context(above) if above else None,
        resource=_sender.resource,
        attributes=dict(attributes),
        links=[Link(linked)] if linked else [],
        status=Status(StatusCode.ERROR, failed) if failed else Status(StatusCode.UNSET),
        start_time=_nanoseconds(began),
        end_time=_nanoseconds(max(began, ended)),
        instrumentation_scope=InstrumentationScope(_SCOPE),
    )


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
