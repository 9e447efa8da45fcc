"""What is told of calls: of each its row in the database, its VoiceSession while there is one, or both. Pure."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from conversations.reader import TranscriptItem
from conversations.viewer import Conversation, FoundConversation, Search
from token_service.calls_schemas import CallEvent, CallItem, CallStory, CallSummary, OtherCall
from voice_telemetry.traces import CallTrace
from voicesession import clock
from voicesession.conditions import ConditionType
from voicesession.models import Condition, Phase, VoiceSession


@dataclass(frozen=True, slots=True)
class Call:
    """A call by its row, its VoiceSession, or both: one of them is there."""

    row: Conversation | None
    session: VoiceSession | None

    @property
    def session_id(self) -> str:
        """Returns its id, a UUID in lower case."""
        return str(self.row.session_id) if self.row else self._required.metadata.uid

    @property
    def started_at(self) -> datetime:
        """Returns since when it is listed: since its first agent came, or since its creation where none has."""
        return self.row.created_at if self.row else self._required.metadata.creation_timestamp or clock.now()

    @property
    def place(self) -> tuple[datetime, UUID]:
        """Returns where it stands among all."""
        return self.started_at, UUID(self.session_id)

    @property
    def tenant(self) -> str | None:
        """Returns whose it is."""
        return self.row.tenant if self.row else self._required.spec.tenant

    @property
    def profile(self) -> str:
        """Returns who answers."""
        return self.row.profile if self.row else self._required.spec.profile

    @property
    def room(self) -> str:
        """Returns its room's name."""
        return self.row.room_id if self.row else room_of(self._required)

    @property
    def phase(self) -> str:
        """Returns where it stands."""
        if self.session:
            return self.session.status.phase or Phase.PENDING
        return Phase.ENDED if self.ended_at else "Open"

    @property
    def attempts(self) -> int:
        """Returns how many agents have had it."""
        counted = self.session.status.attempts if self.session else None
        return max(self.row.attempts if self.row else 0, counted or 0)

    @property
    def ended_at(self) -> datetime | None:
        """Returns when it ended."""
        return (self.row and self.row.ended_at) or (self.session.status.ended_at if self.session else None)

    @property
    def end_reason(self) -> str | None:
        """Returns why it ended, in the agent's word."""
        return (self.row and self.row.end_reason) or (self.session.status.end_reason if self.session else None)

    @property
    def reason(self) -> str | None:
        """Returns why it ended, or else why it stands where it does."""
        return self.end_reason or (self.session.status.reason if self.session else None)

    @property
    def llm_provider(self) -> str | None:
        """Returns whose model answers."""
        return (self.session and self.session.status.llm_provider) or (self.row.llm_provider if self.row else None)

    @property
    def _required(self) -> VoiceSession:
        assert self.session is not None  # noqa: S101 - there is a row otherwise
        return self.session


def room_of(session: VoiceSession) -> str:
    """Returns the name of a VoiceSession's room; nothing where it has none yet."""
    return session.spec.room or session.status.room or ""


def list_unwritten(
    sessions: Iterable[VoiceSession], search: Search, written: Collection[str], at_most: int
) -> list[Call]:
    """Returns the newest calls without a row that are looked for: those to which no agent has come.

    `written`: the ids of some that have one all the same, since what is known of their VoiceSessions is older.
    """
    waiting = (each for each in sessions if not each.status.agent_joined_at and each.metadata.uid not in written)
    calls = [call for each in waiting if is_wanted(call := Call(None, each), search)]
    return sorted(calls, key=lambda call: call.place, reverse=True)[:at_most]


def is_wanted(call: Call, search: Search) -> bool:
    """Tells of a call what the database tells of a row."""
    return (
        search.tenant in {None, call.tenant}
        and (search.since is None or call.started_at >= search.since)
        and (search.until is None or call.started_at < search.until)
        and search.profile in {None, call.profile}
        and search.reason in {None, call.reason}
        and search.room in {None, call.room}
        and (search.before is None or call.place < search.before)
    )


def build_summary(call: Call, now: datetime) -> CallSummary:
    """Returns what the list says of a call."""
    found = call.row if isinstance(call.row, FoundConversation) else None
    ends = call.ended_at or (now if call.session else None)
    return CallSummary(
        session_id=call.session_id,
        room=call.room,
        profile=call.profile,
        tenant=call.tenant,
        phase=call.phase,
        reason=call.reason,
        started_at=call.started_at,
        ended_at=call.ended_at,
        duration_seconds=max(0, round((ends - call.started_at).total_seconds())) if ends else None,
        attempts=call.attempts,
        answers=found.answers if found else 0,
        median_answer_millis=found.median_answer_millis if found else None,
        llm_provider=call.llm_provider,
    )


def build_story(call: Call, rows: Sequence[TranscriptItem], others: Iterable[Call]) -> CallStory:
    """Returns all that is known of a call. `rows`: its conversation's, in order."""
    session, usage = call.session, call.row.usage if call.row else None
    trace = CallTrace(session.trace_seed, session.traceparent) if session else None
    return CallStory(
        session_id=call.session_id,
        room=call.room,
        profile=call.profile,
        tenant=call.tenant,
        phase=call.phase,
        reason=call.reason,
        message=session.status.message if session else None,
        started_at=call.started_at,
        agent_joined_at=session.status.agent_joined_at if session else None,
        ended_at=call.ended_at,
        end_reason=call.end_reason,
        attempts=call.attempts,
        llm_provider=call.llm_provider,
        local_mode=session.spec.local_mode if session else bool(call.row and call.row.is_local_mode),
        usage=usage if isinstance(usage, dict) else {},
        trace_id=f"{trace.trace_id:032x}" if trace else None,
        items=[_build_item(row) for row in rows],
        events=sorted(_list_events(call, rows), key=lambda event: event.at),
        others=[OtherCall(session_id=each.session_id, started_at=each.started_at) for each in others],
    )


def _build_item(row: TranscriptItem) -> CallItem:
    # What agents measure are whole numbers; an agent may have written anything.
    latencies = {name: value for name, value in (row.latencies or {}).items() if type(value) is int}
    return CallItem(
        item_id=row.item_id,
        at=row.created_at,
        attempt=row.attempt,
        kind=row.kind,
        role=row.role,
        content=row.content,
        interrupted=row.interrupted,
        latencies=latencies or None,
        tool=row.tool,
    )


def _list_events(call: Call, rows: Sequence[TranscriptItem]) -> Iterator[CallEvent]:
    if call.session:
        yield from _list_events_of(call.session)
    elif call.row:
        yield CallEvent(at=call.row.created_at, kind="created", text="Its first agent came.")
    begun: dict[int, datetime] = {}
    for row in rows:
        begun[row.attempt] = min(begun.get(row.attempt, row.created_at), row.created_at)
    for attempt, at in begun.items():
        if attempt > min(begun):
            yield CallEvent(at=at, kind="attempt", text=f"Attempt {attempt} goes on with the conversation.")
    if call.ended_at:
        message = call.session.status.message if call.session else None
        yield CallEvent(at=call.ended_at, kind="ended", text=": ".join(filter(None, (call.reason, message))))


def _list_events_of(session: VoiceSession) -> Iterator[CallEvent]:
    """Yields what a VoiceSession tells, but for its end."""
    status = session.status
    if created := session.metadata.creation_timestamp:
        yield CallEvent(at=created, kind="created", text=f"Asked for, with profile {session.spec.profile}.")
    if status.bound_at:
        start = f" ({status.start_type.lower()} start)" if status.start_type else ""
        where = f"Pod {status.pod_name} on node {status.node_name}{start}."
        yield CallEvent(at=status.bound_at, kind="claimed", text=where)
    if status.agent_joined_at:
        yield CallEvent(at=status.agent_joined_at, kind="joined", text="The agent is in the room.")
    yield from _list_conditions(session)


def _list_conditions(session: VoiceSession) -> Iterator[CallEvent]:
    first = session.status.agent_joined_at
    by_type = {each.type: each for each in session.status.conditions}
    bound, joined, done = (
        by_type.get(kind) for kind in (ConditionType.POD_BOUND, ConditionType.AGENT_JOINED, ConditionType.AGENT_DONE)
    )
    if bound and bound.status == "False":
        yield _event_of(bound, "waiting")
    if joined and first and joined.status == "True" and joined.last_transition_time > first:
        yield _event_of(joined, "recovered")
    # At its end it has no agent any more, which is no loss.
    if joined and first and joined.status == "False" and not session.status.ended_at:
        yield _event_of(joined, "lost")
    if done and done.status == "False":
        yield _event_of(done, "working")


def _event_of(condition: Condition, kind: str) -> CallEvent:
    text = ": ".join(filter(None, (condition.reason, condition.message)))
    return CallEvent(at=condition.last_transition_time, kind=kind, text=text)
