"""A call of a real release is one trace with all its parts; so is one whose agent was killed. No word is in it."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.recovery import INTRODUCTION, STORY
from benchmarks.release_stage import ReleaseStage
from testing.browser import IMAGES_VARIABLE
from testing.collector import Collector, SentSpan
from testing.customer import joined_room
from testing.front_door import ask_for_connection
from testing.progress import Step
from testing.release import Release
from testing.release_calls import rows_of, wait_for_end
from testing.release_code import SENTENCES, order_a_pizza, pool_with_code
from testing.release_secrets import TELLING_LENGTH, planted
from testing.waiting import eventually
from testing.waterfall import draw_waterfall
from voice_operator.calls.call_traces import trace_of
from voicesession.models import VoiceSession

# Agents and operator send every five seconds.
SENT_SECONDS = 30.0
ANSWER_SECONDS = 90.0
DOOR = {"POST /api/connection-details"}
OPERATOR = {"call", "wait for a pod", "claim", "assignment", "join", "agent 1"}
AGENT = {"write rows", "write the end"}
FRAMEWORK = {"room_connect", "agent_session", "llm_node", "tts_node"}
TALK = {"user_turn", "user_speaking", "agent_turn", "agent_speaking", "function_tool"}
RECOVERED = {"recovery", "agent 2", "read rows"}

pytestmark = pytest.mark.skipif(
    os.environ.get("CLUSTER") in {"current", "kind"}, reason="pods of that cluster do not reach this machine"
)


async def test_a_call_is_one_trace_with_all_its_parts(
    release: Release, collector: Collector, front_door: str, speak: Callable[[str], bytes]
) -> None:
    with pool_with_code(release, "traced", "pizza:OrderTaker"):
        release.wait_until_ready(Step("traced"), timeout=120)
        connection = ask_for_connection(front_door, profile="traced")
        async with joined_room(connection.server_url, connection.token) as customer:
            await order_a_pizza(customer, [speak(sentence) for sentence in SENTENCES])
        ended = await asyncio.to_thread(wait_for_end, release, connection.room)
    spans = await find_trace(collector, ended, DOOR | OPERATOR | AGENT | FRAMEWORK | TALK, is_whole=True)

    assert [span.name for span in spans if not span.parent] == ["call"]
    assert {span.service for span in spans} == {"voice-token-service", "voice-operator", "voice-agent"}
    check_no_words(release, collector, connection.room)
    await draw("call", "A call: three turns, their tools, a handoff between two agents of the code", spans)


async def test_a_call_whose_agent_is_killed_is_still_one_trace(release: Release, collector: Collector) -> None:
    stage = ReleaseStage(release, spoken=False)
    await stage.until_ready()
    async with stage.call() as call:
        customer = call.customer
        await customer.answer(customer.connect_began_at, ANSWER_SECONDS)
        await customer.answer(await call.say(INTRODUCTION), ANSWER_SECONDS)
        await customer.until_audible(await call.say(STORY), ANSWER_SECONDS, "a story")
        known = set(customer.heard.agent_joins)
        await stage.hurt(call, "kill")
        joined_at = await customer.until_successor(known, ANSWER_SECONDS)
        await customer.until_audible(joined_at, ANSWER_SECONDS, "the rest of it")
    ended = await asyncio.to_thread(wait_for_end, release, call.room)
    spans = await find_trace(collector, ended, DOOR | OPERATOR | AGENT | FRAMEWORK | RECOVERED)

    assert [span.name for span in spans if not span.parent] == ["call"]
    assert next(span for span in spans if span.name == "agent 1").failed
    check_no_words(release, collector, call.room)
    await draw("recovery", "A call whose agent was killed, and the next one", spans)


async def find_trace(
    collector: Collector, session: dict[str, Any], names: set[str], *, is_whole: bool = False
) -> list[SentSpan]:
    """Returns a call's spans, once all of these are there, and, where it is whole, what each is below."""
    trace = trace_of(VoiceSession.model_validate(session))

    def find_orphans() -> list[str]:
        spans = collector.of(trace)
        known = {"", *(span.id for span in spans)}
        return [span.name for span in spans if span.parent not in known]

    def all_there() -> list[SentSpan]:
        spans = collector.of(trace)
        is_there = names <= {span.name for span in spans}
        return spans if is_there and not (is_whole and find_orphans()) else []

    def say_missing() -> str:
        missing = sorted(names - {span.name for span in collector.of(trace)})
        return f"missing: {missing}, or what these are below: {find_orphans()}"

    return await eventually(all_there, SENT_SECONDS, say_missing)


def check_no_words(release: Release, collector: Collector, room: str) -> None:
    """Looks for what both sides have said, as it was written down, and for every Secret in every byte that was sent."""
    said = [row["content"] for row in rows_of(release, room) if len(row["content"] or "") >= TELLING_LENGTH]
    secrets = dict(planted(release))
    assert said
    assert secrets
    data = bytes(collector.data)
    assert [words for words in said if words.encode() in data] == []
    assert [name for secret, name in secrets.items() if secret.encode() in data] == []


async def draw(name: str, title: str, spans: list[SentSpan]) -> None:
    """Draws a picture for the docs where PAGE_IMAGES names a folder."""
    if folder := os.environ.get(IMAGES_VARIABLE):
        await draw_waterfall(title, spans, Path(folder) / f"trace-{name}.png")
