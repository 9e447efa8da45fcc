"""What the page of calls is answered: the models that the OpenAPI page shows."""

from datetime import datetime
from typing import Any

from pydantic import Field

from voicesession.models import Model


class CallSummary(Model):
    """A call in the list."""

    session_id: str
    room: str
    profile: str
    tenant: str | None
    phase: str = Field(description="The VoiceSession's while there is one; else `Ended`, or `Open` without an end.")
    reason: str | None = Field(description="Why it ended, or why it waits or has failed, in one word.")
    started_at: datetime
    ended_at: datetime | None
    duration_seconds: int | None = Field(description="Up to now while it lasts.")
    attempts: int = Field(description="How many agents have had it in turn.")
    answers: int = Field(description="How many were measured.")
    median_answer_millis: int | None
    llm_provider: str | None


class Calls(Model):
    """A page of calls, the newest first."""

    items: list[CallSummary]
    next: str | None = Field(description="As `cursor`, asks for the calls before these.")
    sees_all: bool = Field(description="Whether every tenant's calls are yours to see.")
    tenant: str = Field(description="Who you are.")
    profiles: list[str] = Field(description="What can be searched for.")
    reasons: list[str]


class CallItem(Model):
    """One thing that was said or done."""

    item_id: str
    at: datetime
    attempt: int
    kind: str = Field(description="message, tool_call, tool_result or handoff")
    role: str | None = Field(description="`system` and `developer`: what the agent's code has noted.")
    content: str | None
    interrupted: bool
    latencies: dict[str, int] | None = Field(description="In milliseconds, as in the database.")
    tool: dict[str, Any] | None


class CallEvent(Model):
    """One thing that happened to the call. `text`: without a word of the conversation."""

    at: datetime
    kind: str = Field(description="created, waiting, claimed, joined, lost, recovered, attempt, working or ended")
    text: str


class OtherCall(Model):
    """Another call in the same room."""

    session_id: str
    started_at: datetime


class CallStory(Model):
    """One call, from its creation to its end. What is known of its VoiceSession alone is null once that is gone."""

    session_id: str
    room: str
    profile: str
    tenant: str | None
    phase: str
    reason: str | None
    message: str | None
    started_at: datetime
    agent_joined_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None
    attempts: int
    llm_provider: str | None
    local_mode: bool
    usage: dict[str, Any]
    trace_id: str | None
    items: list[CallItem]
    events: list[CallEvent]
    others: list[OtherCall]
