"""Spans of a call's agent: livekit-agents' own and a team's, below the operator's span of it. Off without an endpoint.

livekit-agents marks what in its spans has words or names people, and strips it before anybody is sent them.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode

from voice_telemetry.traces import build_provider, runs_in_time

log = logging.getLogger(__name__)

# Of whoever gives tracers by then; where nobody does its spans are nothing.
_tracer = trace.get_tracer("voice-agent")


@dataclass
class Traces:
    """The pod's spans."""

    endpoint: str

    def __post_init__(self) -> None:
        """Has livekit-agents, and whoever asks OpenTelemetry for a tracer, send spans, without words."""
        if not self.endpoint:
            return
        from livekit.agents.telemetry import set_tracer_provider  # noqa: PLC0415 - it is heavy, and may not be wanted

        self._provider = build_provider("voice-agent", self.endpoint)
        set_tracer_provider(self._provider, allow_pii=False)
        trace.set_tracer_provider(self._provider)

    def enter(self, traceparent: str | None) -> None:
        """Has what begins from now on in this context be below the span that W3C Trace Context names."""
        if not self.endpoint or not traceparent:
            return
        from opentelemetry import context  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        context.attach(TraceContextTextMapPropagator().extract({"traceparent": traceparent}))

    async def flush(self) -> None:
        """Sends what waits, within two seconds."""
        if self.endpoint and not await asyncio.to_thread(runs_in_time, self._provider.force_flush):
            log.warning("spans could not be sent in time")


@contextmanager
def traced(name: str, **numbers: int) -> Iterator[None]:
    """Tells what is done meanwhile as a span, below what it is a part of. What is raised fails it, by its type."""
    with _tracer.start_as_current_span(
        name,
        attributes={f"voice.{key}": value for key, value in numbers.items()},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            # Its message may quote what was to be written.
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
