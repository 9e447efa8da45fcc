"""One trace of a recovered call, from the operator, two agents and livekit-agents, in which nobody said a word.

And histograms lead to it.
"""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local_cluster.ports import LOOPBACK, free_port
from testing.agent_cluster import AgentCluster, agent_cluster
from testing.collector import Collector, SentSpan, collecting
from testing.conversations import ConversationsDatabase
from testing.fake_openai import running_fake_openai
from testing.livekit import LiveKitServer
from testing.prometheus import scraping
from testing.waiting import eventually
from voice_operator.calls.call_traces import trace_of
from voice_telemetry.server import build_health_app, serving
from voicesession.models import AgentProfileSpec

HISTOGRAMS = (
    "voice_operator_joined_seconds",
    "voice_operator_recovery_seconds",
    "voice_agent_first_word_seconds",
    "voice_agent_llm_first_token_seconds",
)
SECRET_WORDS = "the password of Ada is swordfish"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting("voice-operator") as running:
        yield running


@pytest.fixture
async def traced(
    collector: Collector,
    api_server: Path,
    livekit: LiveKitServer,
    conversations: ConversationsDatabase,
    tmp_path: Path,
) -> AsyncIterator[AgentCluster]:
    """Two nodes with a pod each, whose spans are collected, and an operator."""
    async with (
        running_fake_openai() as models,
        agent_cluster(
            api_server, livekit, conversations, models, tmp_path, otel_exporter_otlp_endpoint=collector.url
        ) as made,
    ):
        made.start_operator()
        await made.create_warm_pool(2)
        yield made


async def test_a_recovered_call_is_one_trace_without_a_word_of_it(
    traced: AgentCluster, collector: Collector, tmp_path: Path
) -> None:
    async with traced.call() as (session, customer):
        await customer.until_said(AgentProfileSpec().greeting)
        await customer.type(SECRET_WORDS)
        await customer.until_said(f"You said: {SECRET_WORDS}.")
        first = await traced.pod_of(session)
        known = set(customer.heard.agent_joins)
        first.signal(signal.SIGKILL)
        await customer.until_successor(known, 30)
        await customer.until_answered("still there")
    await traced.wait_for_phase(session.metadata.name, "Ended")
    made = await traced.session(session.metadata.name)
    assert made is not None
    trace = trace_of(made)
    ours = {"call", "wait for a pod", "claim", "assignment", "join", "agent 1", "agent 2", "recovery"}
    agents = {"read rows", "write rows", "write the end"}
    theirs = {"room_connect", "agent_session", "llm_node", "tts_node"}

    def told() -> list[SentSpan]:
        spans = collector.of(trace)
        return spans if (ours | agents | theirs) <= {span.name for span in spans} else []

    spans = await eventually(told, 30, lambda: str(sorted({span.name for span in collector.spans})))
    assert [span.name for span in spans].count("claim") == 2
    by_id = {span.id: span for span in spans}
    roots = [span.name for span in spans if not span.parent]
    assert roots == ["call"]
    # What began in the agent that was killed, and had not ended, was never sent; what was below it has nobody above it.
    lost = {span.parent for span in spans if span.parent and span.parent not in by_id}
    second = next(span for span in spans if span.name == "agent 2")
    assert not [span.name for span in spans if span.parent in lost and span.began > second.began]
    assert next(span for span in spans if span.name == "agent 1").failed
    assert {span.service for span in spans} == {"voice-operator", "voice-agent"}
    for words in ("swordfish", AgentProfileSpec().greeting):
        assert words.encode() not in collector.data

    app = build_health_app(is_live=lambda: None, is_ready=lambda: None)
    port = free_port()
    async with serving(app, port, LOOPBACK), scraping([f"{LOOPBACK}:{port}"], {}, tmp_path) as prometheus:
        for metric in HISTOGRAMS:

            async def leads_to_it(metric: str = metric) -> bool:
                return f"{trace.trace_id:032x}" in await prometheus.exemplars(f"{metric}_bucket")

            await eventually(leads_to_it, 30, f"{metric} does not lead to the trace")
