"""Writes the status of VoiceSessions; what becomes new by it is told as Event, metric and log line."""

import logging
from datetime import datetime
from enum import Enum, auto

from kube.client import ConflictError, KubernetesError, KubernetesUnavailableError, NotFoundError
from kube.refusals import is_about_the_object
from voice_operator.calls import call_traces
from voice_operator.calls.deaths import Death
from voice_operator.calls.hand_over import Move, Trigger
from voice_operator.events import EventReason, EventRecorder, Subject
from voice_operator.label_names import PROFILES
from voice_operator.metrics import (
    AGENTS_LOST,
    JOINED_SECONDS,
    MOVE_SECONDS,
    MOVE_SILENCE_SECONDS,
    MOVES,
    OTHER_AGENTS,
    RECOVERY_SECONDS,
    SESSIONS_FINISHED,
    WORK_LOST,
)
from voice_operator.write_through import WriteThrough
from voice_telemetry.traces import build_exemplar
from voicesession.admission import is_finished
from voicesession.advice import with_advice
from voicesession.conditions import ConditionType, Reason, find_condition, is_agent_at_work
from voicesession.doors import find_door
from voicesession.models import Phase, VoiceSession, VoiceSessionStatus
from voicesession.names import VOICE_SESSIONS

log = logging.getLogger(__name__)

_WAITING = frozenset({Phase.PENDING, Phase.RECOVERING})
# Why a call waits that would else have its agent within seconds.
_TROUBLES = frozenset(
    {
        Reason.UNSCHEDULABLE,
        Reason.IMAGE_PULL_FAILED,
        Reason.CODE_IMPORT_FAILED,
        Reason.PROTOCOL_UNKNOWN,
        Reason.QUOTA_EXCEEDED,
        Reason.POD_CONFIG_INVALID,
        Reason.POD_SANDBOX_FAILED,
        Reason.POD_CREATION_FAILED,
        Reason.CRASH_LOOPING,
        Reason.EVICTED,
        Reason.LIVEKIT_UNAVAILABLE,
    }
)


class Outcome(Enum):
    """What became of a status that was to be written."""

    WRITTEN = auto()
    CHANGED = auto()  # the VoiceSession is another by now, or gone: look again
    REFUSED = auto()  # the API server takes none like it: its CRDs are older than we are, or a policy forbids it


class SessionWriter:
    """The one place from which a VoiceSession's status is written."""

    def __init__(self, kubernetes: WriteThrough, events: EventRecorder) -> None:
        self._kubernetes = kubernetes
        self._events = events
        self._unanswered: dict[str, VoiceSession] = {}  # by uid: before a write of which nobody knows what it did

    async def write(self, session: VoiceSession, status: VoiceSessionStatus) -> Outcome:
        """Writes a status, provided that the VoiceSession is still the one it was decided on.

        Raises:
            KubernetesError: whatever is written is refused just now, for missing rights for example.
            KubernetesUnavailableError: there was no answer.
        """
        try:
            await self._kubernetes.write_status(VOICE_SESSIONS, session, status)
        except NotFoundError:
            return Outcome.CHANGED
        except ConflictError:
            await self._kubernetes.refresh_session(session.metadata.name, session.metadata.uid)
            return Outcome.CHANGED
        except KubernetesError as error:
            if not is_about_the_object(error):
                raise
            log.error("a status was refused", extra={"error": error})  # noqa: TRY400 - their words say it all
            advice = "The call goes on without it. Install this release's CRDs, or see which policy forbids it."
            self._events.record(session, "Warning", EventReason.STATUS_REFUSED, f"{error.message[:800]} {advice}")
            return Outcome.REFUSED
        except KubernetesUnavailableError:
            self._unanswered.setdefault(session.metadata.uid, session)
            raise
        self._tell(self._unanswered.pop(session.metadata.uid, session), status)
        return Outcome.WRITTEN

    def see(self, session: VoiceSession) -> None:
        """Tells what is new of a VoiceSession by a write that had no answer, where that turns out to be done."""
        before = self._unanswered.get(session.metadata.uid)
        if before and before.metadata.resource_version != session.metadata.resource_version:
            del self._unanswered[session.metadata.uid]
            self._tell(before, session.status)

    def forget(self, uid: str) -> None:
        """Drops what is remembered of a VoiceSession."""
        self._unanswered.pop(uid, None)

    def tell_stuck(self, session: VoiceSession, step: str) -> None:
        """Tells that a call is decided about in circles."""
        message = f"This call does not come to rest: its last step was {step}. It is looked at again after a minute."
        self._events.record(session, "Warning", EventReason.STUCK, message)

    def tell_other_agent(self, session: VoiceSession, identity: str) -> None:
        """Tells that somebody else's agent is in the call's room."""
        message = (
            f"Participant {identity!r}, somebody else's agent, is in this call's room too, and may speak. A "
            "livekit-agents worker without an agent name on the same LiveKit is sent into each room: give it a name, "
            "or stop it."
        )
        OTHER_AGENTS.inc()
        self._events.record_once(Subject.of(session), EventReason.OTHER_AGENT, message)
        log.warning("somebody else's agent is in the room too", extra={"identity": identity})

    def tell_moved(self, session: VoiceSession, status: VoiceSessionStatus, move: Move, joined_at: datetime) -> None:
        """Tells that a call has gone to another pod."""
        trigger = (move.trigger or Trigger.DELETED).value
        seconds = (joined_at - (move.wanted_at or joined_at)).total_seconds()
        silence = (joined_at - (move.handed_at or joined_at)).total_seconds()
        MOVES.labels(trigger).inc()
        MOVE_SECONDS.observe(max(0.0, seconds))
        MOVE_SILENCE_SECONDS.observe(max(0.0, silence))
        before, millis = session.status.pod_name, round(1000 * silence)
        message = (
            f"The call went from pod {before} ({trigger}) to pod {status.pod_name}, with no agent for {millis} ms."
        )
        self._events.record(session, "Normal", EventReason.MOVED, message)
        call_traces.tell_moved(session, status, trigger, move.wanted_at, joined_at)
        fields = {"pod": status.pod_name, "attempt": status.attempts, "trigger": trigger, "milliseconds": millis}
        log.info("the call has moved", extra=fields)

    def tell_cause(self, session: VoiceSession, death: Death) -> None:
        """Tells what an agent was lost by, which its kubelet said when it was given up already."""
        self._events.record_once(Subject.of(session), death.reason.value, death.message)
        log.warning("why the agent was lost", extra={"reason": death.reason.value, "detail": death.message})

    def _tell(self, before: VoiceSession, status: VoiceSessionStatus) -> None:
        if (status.lost_attempt or 0) > (before.status.lost_attempt or 0):
            self._tell_lost(before, status)
        elif status.reason in _TROUBLES and status.phase in _WAITING and status.reason != before.status.reason:
            self._tell_waiting(before, status)
        if _has_joined(status) and not _has_joined(before.status):
            if before.status.agent_joined_at is None:
                self._tell_joined(before, status)
            else:
                self._tell_recovered(before, status)
        if status.phase in {Phase.ENDED, Phase.FAILED} and not is_finished(before):
            self._tell_finished(before, status)
        if is_agent_at_work(before.status.conditions) and not is_agent_at_work(status.conditions):
            self._tell_done(before, status)

    def _tell_waiting(self, session: VoiceSession, status: VoiceSessionStatus) -> None:
        reason, message = status.reason or "", status.message or ""
        told = with_advice(reason, f"The call waits for its agent: {message}")
        self._events.record_once(Subject.of(session), reason, told, about="waiting")
        log.warning("the call waits", extra={"reason": reason, "detail": message})

    def _tell_joined(self, session: VoiceSession, status: VoiceSessionStatus) -> None:
        start, millis = status.start_type.value if status.start_type else "?", status.connect_millis
        joined = JOINED_SECONDS.labels(*PROFILES.bound(session.spec.profile), start)
        joined.observe((millis or 0) / 1000, build_exemplar(call_traces.trace_of(session)))
        message = f"{start} start: the agent in pod {status.pod_name} was in the room after {millis} ms."
        self._events.record(session, "Normal", EventReason.AGENT_JOINED, message)
        call_traces.tell_joined(session, status)
        log.info("agent joined", extra={"pod": status.pod_name, "start": start, "milliseconds": millis})

    def _tell_lost(self, session: VoiceSession, status: VoiceSessionStatus) -> None:
        pod, reason, message = session.status.pod_name, status.reason or "", status.message or ""
        AGENTS_LOST.labels(reason).inc()
        told = f"{with_advice(reason, f'{reason}: {message}')} Another one is to carry the call on."
        self._events.record(session, "Warning", EventReason.AGENT_LOST, told)
        call_traces.tell_lost(session, status)
        fields = {"pod": pod, "attempt": status.lost_attempt, "reason": reason, "detail": message}
        log.warning("the agent is lost", extra=fields)

    def _tell_recovered(self, session: VoiceSession, status: VoiceSessionStatus) -> None:
        seconds = max(0.0, _joined_since(status) - _joined_since(session.status))
        millis = round(1000 * seconds)
        message = f"The agent in pod {status.pod_name} carries the call on, {millis} ms after it had none."
        if status.lost_attempt == session.status.lost_attempt:  # else it is the same one, heard again
            RECOVERY_SECONDS.observe(seconds, build_exemplar(call_traces.trace_of(session)))
        self._events.record(session, "Normal", EventReason.AGENT_RECOVERED, message)
        call_traces.tell_recovered(session, status)
        fields = {"pod": status.pod_name, "attempt": status.attempts, "milliseconds": millis}
        log.info("the call has an agent again", extra=fields)

    def _tell_finished(self, session: VoiceSession, status: VoiceSessionStatus) -> None:
        phase, reason, message = status.phase or "", status.reason or "", status.message or ""
        end_reason = status.end_reason.value if status.end_reason else None
        profile, door = PROFILES.bound(session.spec.profile), find_door(session)
        SESSIONS_FINISHED.labels(*profile, door, phase, reason, end_reason or "").inc()
        kind, told = ("Normal", message) if phase is Phase.ENDED else ("Warning", with_advice(reason, message))
        self._events.record(session, kind, reason, told)
        call_traces.tell_finished(session, status)
        # The message of a call that just ended may be that of the agent's code, which may quote the customer.
        detail = message if phase is Phase.FAILED else None
        fields = {"pod": status.pod_name, "phase": phase, "reason": reason, "endReason": end_reason, "detail": detail}
        log.info("call finished", extra=fields)

    def _tell_done(self, session: VoiceSession, status: VoiceSessionStatus) -> None:
        done = find_condition(status.conditions, ConditionType.AGENT_DONE)
        if done is None:
            return
        fields = {"pod": status.pod_name, "reason": done.reason, "detail": done.message}
        if done.reason != Reason.WORK_LOST:
            log.info("the agent has done what was left of its call", extra=fields)
            return
        WORK_LOST.inc()
        self._events.record(session, "Warning", done.reason, done.message)
        log.warning("an agent's work after its call is lost", extra=fields)


def _has_joined(status: VoiceSessionStatus) -> bool:
    joined = find_condition(status.conditions, ConditionType.AGENT_JOINED)
    return joined is not None and joined.status == "True"


def _joined_since(status: VoiceSessionStatus) -> float:
    """Returns since when an agent is in the room, or none is, as seconds of the wall's clock."""
    joined = find_condition(status.conditions, ConditionType.AGENT_JOINED)
    return joined.last_transition_time.timestamp() if joined else 0.0
