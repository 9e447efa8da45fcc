"""Chat servers as they are found: each answer comes out right, or as a failure with a name."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from livekit.agents import ChatContext, function_tool, llm
from livekit.plugins import openai

from testing.odd_chats import ODDITIES, Odd
from testing.odd_client import PATIENT, TRIES, PatientClient, describe, noting, try_all
from voice_agent.answers.client import ModelClient


@function_tool
async def book(day: str) -> str:
    """Books a table."""
    return day


@function_tool
async def cancel() -> str:
    """Cancels."""
    return ""


@dataclass
class Outcome:
    """What a session would get."""

    words: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)


async def ask(odd: Odd, url: str, http: ModelClient) -> Outcome:
    model = openai.LLM(client=PatientClient(odd.patience, base_url=url, http_client=http))
    outcome = Outcome()
    context = ChatContext.empty()
    context.add_message(role="user", content="Book a table for Friday.")
    with noting(model, outcome.errors, odd.name):
        async with model.chat(chat_ctx=context, tools=[book, cancel], conn_options=TRIES) as answer:
            async for chunk in answer:
                take(chunk, outcome)
    return outcome


def take(chunk: llm.ChatChunk, outcome: Outcome) -> None:
    if chunk.delta is None:
        return
    outcome.words += chunk.delta.content or ""
    for each in chunk.delta.tool_calls:
        outcome.ids.append(each.call_id)
        try:
            outcome.calls.append((each.name, json.loads(each.arguments)))
        except ValueError:
            outcome.calls.append((each.name, each.arguments))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes() -> dict[str, tuple[Outcome, int]]:
    """Each oddity's outcome, and how often its server was asked; all were tried at once."""
    return await try_all(ODDITIES, ask)


@pytest.mark.parametrize("odd", ODDITIES, ids=lambda odd: odd.name)
def test_an_odd_chat(odd: Odd, outcomes: dict[str, tuple[Outcome, int]]) -> None:
    outcome, asked = outcomes[odd.name]
    assert outcome.words == odd.words
    assert outcome.calls == odd.calls
    assert len({*outcome.ids, ""}) == len(odd.calls) + 1, "each call has an id of its own"
    assert bool(outcome.errors) == bool(odd.failure), outcome.errors
    if odd.failure:
        assert odd.failure in describe(outcome.errors[-1])
    if odd.patience is PATIENT:
        assert asked == odd.tries
