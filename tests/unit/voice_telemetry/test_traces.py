"""A call's trace follows from its name alone, and nothing happens where nobody collects spans."""

import sys
import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from testing.operator_objects import NOW, UID, ago, finished_conditions, make_session
from voice_operator.calls import call_traces
from voice_telemetry import traces
from voice_telemetry.traces import CallTrace, tell_span
from voicesession.models import Phase
from voicesession.names import CALL_LABEL, TRACEPARENT_ANNOTATION

CALL = CallTrace("call-2PqX7w")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What was sent."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(traces._sender, "processor", SimpleSpanProcessor(exporter))
    return exporter


def _only(sent: InMemorySpanExporter) -> ReadableSpan:
    [span] = sent.get_finished_spans()
    return span


def test_two_parts_know_a_calls_trace_without_a_word_between_them() -> None:
    assert CallTrace("a").trace_id == CallTrace("a").trace_id != CallTrace("b").trace_id
    assert CallTrace("a").attempt(1) != CallTrace("a").attempt(2)
    version, trace, span, flags = CALL.traceparent(2).split("-")
    assert (version, int(trace, 16), int(span, 16), flags) == ("00", CALL.trace_id, CALL.attempt(2), "01")


def test_a_span_is_below_the_calls_own_unless_it_says_otherwise(sent: InMemorySpanExporter) -> None:
    tell_span(CALL, "join", ago(1), NOW, attributes={"voice.start": "warm"})
    span = _only(sent)
    assert span.parent is not None
    assert (span.context.trace_id, span.parent.span_id) == (CALL.trace_id, CALL.root)
    assert span.end_time is not None
    assert span.start_time is not None
    assert span.end_time - span.start_time == 10**9
    assert dict(span.attributes or {}) == {"voice.start": "warm"}


def test_the_calls_own_span_has_none_above_it_and_says_why_it_failed(sent: InMemorySpanExporter) -> None:
    tell_span(CALL, "call", ago(1), NOW, span_id=CALL.root, parent=0, failed="NoCapacity")
    span = _only(sent)
    assert (span.parent, span.context.span_id) == (None, CALL.root)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "NoCapacity")


def test_a_clock_that_was_set_back_gives_no_span_that_ends_before_it_began(sent: InMemorySpanExporter) -> None:
    tell_span(CALL, "join", NOW, NOW - timedelta(seconds=3))
    assert _only(sent).end_time == _only(sent).start_time


def test_where_nobody_collects_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)  # to import it would be an error
    traces.start_traces("voice-operator", "")
    tell_span(CALL, "join", ago(1), NOW)
    traces.end_traces()
    assert not traces.are_on()


def test_a_calls_trace_is_that_of_its_ticket() -> None:
    session = make_session()
    assert call_traces.trace_of(session) == CallTrace(UID)
    metadata = session.metadata.model_copy(update={"labels": {CALL_LABEL: "of-its-ticket"}})
    assert call_traces.trace_of(session.model_copy(update={"metadata": metadata})) == CallTrace("of-its-ticket")


def test_a_finished_call_tells_itself_and_its_last_agent(sent: InMemorySpanExporter) -> None:
    status = make_session(
        conditions=finished_conditions(),
        status_phase=Phase.ENDED,
        status_reason="CallEnded",
        status_attempts=2,
        status_bound_at=ago(9),
        status_agent_joined_at=ago(30),
        status_ended_at=NOW,
        status_message="The customer's own words, perhaps.",
    ).status
    call_traces.tell_finished(make_session(tenant="acme"), status)
    agent, call = sent.get_finished_spans()
    assert (agent.name, agent.context.span_id) == ("agent 2", CallTrace(UID).attempt(2))
    assert (call.name, dict(call.attributes or {})["voice.tenant"]) == ("call", "acme")
    assert "words" not in call.to_json() + agent.to_json()


def test_a_call_is_below_the_span_that_its_annotation_names(sent: InMemorySpanExporter) -> None:
    session = make_session(conditions=finished_conditions(), status_phase=Phase.ENDED, status_ended_at=NOW)
    annotations = {TRACEPARENT_ANNOTATION: f"00-{0xABC:032x}-{0xDEF:016x}-01"}
    joined = session.model_copy(update={"metadata": session.metadata.model_copy(update={"annotations": annotations})})

    call_traces.tell_finished(joined, joined.status)

    call = sent.get_finished_spans()[-1]
    assert call.parent is not None
    assert (call.name, call.context.trace_id, call.parent.span_id) == ("call", 0xABC, 0xDEF)
    assert call.context.span_id == CallTrace(UID).root
    assert call_traces.trace_of(joined).traceparent(1).split("-")[1] == f"{0xABC:032x}"


@pytest.mark.parametrize("caller", ["", "swordfish", f"00-{0xABC:032x}-{0xDEF:016x}-00"])
def test_a_span_that_is_none_or_not_sampled_has_nothing_below_it(caller: str) -> None:
    assert CallTrace("a", caller).trace_id == CallTrace("a").trace_id
    assert CallTrace("a", caller).above == 0


@pytest.mark.usefixtures("sent")
def test_an_exemplar_leads_to_the_calls_trace() -> None:
    assert traces.build_exemplar(CALL) == {"trace_id": f"{CALL.trace_id:032x}"}
    assert traces.build_exemplar(None) is None


def test_where_nobody_collects_there_is_no_exemplar_and_no_callers_trace() -> None:
    assert traces.build_exemplar(CALL) is None
    assert traces.accept_traceparent(f"00-{0xABC:032x}-{0xDEF:016x}-01") is None


def test_a_call_begins_as_it_was_seen_since_its_creation_is_told_in_whole_seconds(sent: InMemorySpanExporter) -> None:
    status = make_session(
        status_bound_at=NOW - timedelta(milliseconds=180),
        status_agent_joined_at=NOW,
        status_connect_millis=230,
    ).status
    session = make_session()
    created = session.model_copy(
        update={"metadata": session.metadata.model_copy(update={"creation_timestamp": NOW - timedelta(seconds=1)})}
    )
    call_traces.tell_joined(created, status)
    wait, join = sent.get_finished_spans()
    assert (wait.name, join.name) == ("wait for a pod", "join")
    millis = [round(((span.end_time or 0) - (span.start_time or 0)) / 1e6) for span in (wait, join)]
    assert millis == [50, 180]


class _Stuck(SpanExporter):
    """As one whose collector takes a request and never answers."""

    def __init__(self) -> None:
        self.asked, self.let_go = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends nothing."""
        self.asked.set()
        self.let_go.wait()
        return SpanExportResult.FAILURE


def test_a_collector_that_does_not_answer_holds_nobody_who_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = _Stuck()
    monkeypatch.setattr(traces, "_SEND_SECONDS", 0.1)
    monkeypatch.setattr(traces._sender, "processor", BatchSpanProcessor(exporter))
    tell_span(CALL, "join", ago(1), NOW)
    traces.end_traces()
    assert exporter.asked.wait(10)
    assert not traces.are_on()
    exporter.let_go.set()
