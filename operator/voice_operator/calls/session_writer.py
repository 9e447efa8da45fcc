"""Writes the status of VoiceSessions; what becomes new by it is told as Event, metric and log line."""

import logging

from kube.client import ConflictError, NotFoundError
from voice_operator.events import EventRecorder
from voice_operator.metrics import JOINED_SECONDS, SESSIONS_FINISHED
from voice_operator.write_through import WriteThrough
from voicesession.conditions import ConditionType, find_condition
from voicesession.models import Phase, VoiceSession, VoiceSessionStatus
from voicesession.names import VOICE_SESSIONS

log = logging.getLogger(__name__)


class SessionWriter:
    """The one place from which a VoiceSession's status is written."""

    def __init__(self, kubernetes: WriteThrough, events: EventRecorder) -> None:
        self._kubernetes = kubernetes
        self._events = events

    async def write(self, session: VoiceSession, status: VoiceSessionStatus) -> bool:
        """Writes a status, provided that the VoiceSession is still the one it was decided on. Tells whether it was.

        Raises:
            KubernetesUnavailableError: there was no answer.
        """
        try:
            await self._kubernetes.write_status(VOICE_SESSIONS, session, status)
        except NotFoundError:
            return False
        except ConflictError:
            await self._kubernetes.refresh_session(session.metadata.name, session.metadata.uid)
            return False
        if _has_joined(status) and not _has_joined(session.status):
            self._tell_joined(session, status)
        if status.phase in {Phase.ENDED, Phase.FAILED}:
            self._tell_finished(session, status)
        return True

    def _tell_joined(self, session: VoiceSession, status: VoiceSessionStatus) -> None:
        start, millis = status.start_type.value if status.start_type else "?", status.connect_millis
        JOINED_SECONDS.labels(start).observe((millis or 0) / 1000)
        message = f"{start} start: the agent in pod {status.pod_name} was in the room after {millis} ms."
        self._events.record(session, "Normal", "AgentJoined", message)
        log.info("agent joined", extra={"pod": status.pod_name, "start": start, "milliseconds": millis})

    def _tell_finished(self, session: VoiceSession, status: VoiceSessionStatus) -> None:
        phase, reason, message = status.phase or "", status.reason or "", status.message or ""
        end_reason = status.end_reason.value if status.end_reason else None
        SESSIONS_FINISHED.labels(phase, reason, end_reason or "").inc()
        self._events.record(session, "Normal" if phase is Phase.ENDED else "Warning", reason, message)
        # The message of a call that just ended may be that of the agent's code, which may quote the customer.
        detail = message if phase is Phase.FAILED else None
        fields = {"pod": status.pod_name, "phase": phase, "reason": reason, "endReason": end_reason, "detail": detail}
        log.info("call finished", extra=fields)


def _has_joined(status: VoiceSessionStatus) -> bool:
    joined = find_condition(status.conditions, ConditionType.AGENT_JOINED)
    return joined is not None and joined.status == "True"
