"""What the operator tells of a call as spans: the whole of it, its waits, each agent's part."""

from datetime import datetime, timedelta

from voice_operator.pods.agent_pod import AgentPod
from voice_telemetry.traces import Attributes, CallTrace, tell_span
from voicesession import clock
from voicesession.conditions import ConditionType, find_condition
from voicesession.models import Phase, VoiceSession, VoiceSessionStatus


def trace_of(session: VoiceSession) -> CallTrace:
    """Returns a call's trace."""
    return CallTrace(session.trace_seed, session.traceparent)


def tell_claimed(session: VoiceSession, pod: AgentPod, attempt: int, began: datetime) -> None:
    """Tells the claim of a pod: one request to the API server."""
    attributes: Attributes = {"k8s.pod.name": pod.name, "k8s.node.name": pod.node or "", "voice.attempt": attempt}
    tell_span(trace_of(session), "claim", began, clock.now(), attributes=attributes)


def tell_assigned(session: VoiceSession, pod: AgentPod, began: datetime) -> None:
    """Tells that a pod has taken the call: one request to it."""
    attributes: Attributes = {"k8s.pod.name": pod.name, "voice.attempt": pod.attempt}
    trace = trace_of(session)
    tell_span(trace, "assignment", began, clock.now(), parent=trace.attempt(pod.attempt), attributes=attributes)


def tell_joined(session: VoiceSession, status: VoiceSessionStatus) -> None:
    """Tells how the first agent came into the room: the wait for its pod, then its joining."""
    began, bound, joined = _find_beginning(session, status), status.bound_at, status.agent_joined_at
    if began is None or bound is None or joined is None:
        return
    trace = trace_of(session)
    start = status.start_type.value.lower() if status.start_type else "unknown"
    tell_span(trace, "wait for a pod", began, bound, attributes={"voice.start": start})
    tell_span(trace, "join", bound, joined, attributes=_pod(status))


def tell_lost(session: VoiceSession, status: VoiceSessionStatus) -> None:
    """Tells the part of an agent that was lost."""
    before = session.status
    _tell_attempt(session, before, status.lost_attempt or 0, clock.now(), failed=status.reason or "lost")


def tell_recovered(session: VoiceSession, status: VoiceSessionStatus) -> None:
    """Tells how long a call had no agent."""
    lost, joined = (find_condition(each.conditions, ConditionType.AGENT_JOINED) for each in (session.status, status))
    if lost and joined:
        began, ended = lost.last_transition_time, joined.last_transition_time
        tell_span(trace_of(session), "recovery", began, ended, attributes={"voice.reason": lost.reason, **_pod(status)})


def tell_moved(
    session: VoiceSession, status: VoiceSessionStatus, trigger: str, wanted_at: datetime | None, joined_at: datetime
) -> None:
    """Tells how a call went to another pod, and the part of the agent that it left."""
    tell_span(
        trace_of(session),
        "hand-over",
        wanted_at or joined_at,
        joined_at,
        attributes={"voice.trigger": trigger, **_pod(status)},
    )
    _tell_attempt(session, session.status, session.status.attempts or 0, joined_at)


def tell_finished(session: VoiceSession, status: VoiceSessionStatus) -> None:
    """Tells the whole call, and the part of its last agent."""
    began, ended = _find_beginning(session, status), status.ended_at
    if began is None or ended is None:
        return
    trace, failed = trace_of(session), status.phase is Phase.FAILED
    reason = status.reason or ""
    if status.agent_joined_at:
        _tell_attempt(session, status, status.attempts or 0, ended, failed=reason if failed else "")
    tell_span(
        trace,
        "call",
        began,
        ended,
        span_id=trace.root,
        parent=trace.above,
        attributes={
            "voice.session": session.metadata.uid,
            "voice.profile": session.spec.profile,
            "voice.tenant": session.spec.tenant or "",
            "voice.reason": reason,
            "voice.end_reason": status.end_reason.value if status.end_reason else "",
            "voice.lost_agents": status.lost_agents or 0,
        },
        failed=reason if failed else "",
    )


def _tell_attempt(
    session: VoiceSession, status: VoiceSessionStatus, attempt: int, ended: datetime, failed: str = ""
) -> None:
    if status.bound_at is None:
        return
    trace = trace_of(session)
    tell_span(
        trace,
        f"agent {attempt}",
        status.bound_at,
        ended,
        span_id=trace.attempt(attempt),
        attributes=_pod(status),
        failed=failed,
    )


def _find_beginning(session: VoiceSession, status: VoiceSessionStatus) -> datetime | None:
    """Returns when the call began: its creation is known in whole seconds, and better from its agent's joining."""
    created, joined, millis = session.metadata.creation_timestamp, status.agent_joined_at, status.connect_millis
    if created is None or joined is None or millis is None:
        return created
    return max(created, joined - timedelta(milliseconds=millis))


def _pod(status: VoiceSessionStatus) -> dict[str, str]:
    return {"k8s.pod.name": status.pod_name or "", "k8s.node.name": status.node_name or ""}
