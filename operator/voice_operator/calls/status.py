"""What a VoiceSession's status says at each point of its life. Pure: each function returns the whole new status."""

from datetime import datetime
from typing import Literal

from voice_operator.calls.deaths import Death
from voice_operator.pods.agent_pod import AgentPod
from voicesession.conditions import ConditionType, Reason, derive_phase, find_condition, with_condition
from voicesession.models import Condition, EndReason, StartType, VoiceSession, VoiceSessionStatus

# Longer messages (a scheduler's, a traceback's last line) are cut: a status is no log.
_MAX_MESSAGE = 1024


def report_waiting(session: VoiceSession, reason: Reason, message: str, now: datetime) -> VoiceSessionStatus:
    """The call has no pod yet, and `reason` is why."""
    conditions = _set(session.status.conditions, ConditionType.POD_BOUND, "False", reason, message, now)
    return _report(session, conditions, reason, message)


def report_numbered(session: VoiceSession, attempts: int, now: datetime) -> VoiceSessionStatus:
    """The call's claims up to `attempts` are used; the next is under way."""
    reason, message = Reason.WAITING_FOR_POD, "A pod is ready, and is being claimed."
    conditions = _set(session.status.conditions, ConditionType.POD_BOUND, "False", reason, message, now)
    return _report(session, conditions, reason, message, attempts=attempts)


def report_livekit_unavailable(session: VoiceSession, message: str, now: datetime) -> VoiceSessionStatus:
    """LiveKit does not answer, so there is no room yet."""
    reason = Reason.LIVEKIT_UNAVAILABLE
    conditions = _set(session.status.conditions, ConditionType.AGENT_JOINED, "False", reason, message, now)
    return _report(session, conditions, reason, message)


def report_starting(
    session: VoiceSession, pod: AgentPod, room: str, start_type: StartType, provider: str, now: datetime
) -> VoiceSessionStatus:
    """The call has its pod, whose agent takes its time to join."""
    message = f"The agent in pod {pod.name} is joining the room."
    conditions = _bound(session.status.conditions, pod, now)
    if not session.status.lost_attempt:  # why the one before it was lost is of more use, until it has joined
        conditions = _set(conditions, ConditionType.AGENT_JOINED, "False", Reason.JOINING, message, now)
    status = _report(session, conditions, Reason.JOINING, message, attempts=pod.attempt, starting_slowly=True)
    return status.model_copy(update=_where(session, pod, room, start_type, provider))


def report_joined(
    session: VoiceSession,
    pod: AgentPod,
    room: str,
    room_sid: str | None,
    start_type: StartType,
    provider: str,
    customer: str | None,
    connect_millis: int,
    now: datetime,
) -> VoiceSessionStatus:
    """The agent is in the room. `connect_millis`: since the VoiceSession was seen, to its first agent there."""
    message = f"The agent in pod {pod.name} is in the room."
    conditions = _bound(session.status.conditions, pod, now)
    conditions = _set(conditions, ConditionType.AGENT_JOINED, "True", Reason.JOINED, message, now)
    status = _report(session, conditions, Reason.JOINED, message, attempts=pod.attempt)
    return status.model_copy(
        update={
            **_where(session, pod, room, start_type, provider),
            "room_sid": room_sid or session.spec.room_sid,
            "participant_identity": customer or session.status.participant_identity,
            "connect_millis": session.status.connect_millis or connect_millis,
            "agent_joined_at": session.status.agent_joined_at or now,
        }
    )


def report_customer(session: VoiceSession, customer: str) -> VoiceSessionStatus:
    """The agent has found out whom it serves; the next one is to know it."""
    return session.status.model_copy(update={"participant_identity": customer})


def report_lost(
    session: VoiceSession, death: Death, attempt: int, claims: int, customer: str | None, now: datetime
) -> VoiceSessionStatus:
    """The call has lost its agent, and gets another. `claims`: the highest number that is used."""
    reason, message = death.reason, death.message
    conditions = _set(session.status.conditions, ConditionType.POD_BOUND, "False", reason, message, now)
    conditions = _set(conditions, ConditionType.AGENT_JOINED, "False", reason, message, now)
    status = _report(session, conditions, reason, message, attempts=max(attempt, claims))
    return status.model_copy(
        update={
            "lost_attempt": attempt,
            "lost_agents": (session.status.lost_agents or 0) + 1,
            "participant_identity": customer or session.status.participant_identity,
        }
    )


def report_returned(session: VoiceSession, pod: AgentPod, now: datetime) -> VoiceSessionStatus:
    """The agent that seemed to be lost is heard again, and goes on with its call."""
    message = f"The agent in pod {pod.name} is heard again."
    conditions = _bound(session.status.conditions, pod, now)
    conditions = _set(conditions, ConditionType.AGENT_JOINED, "True", Reason.JOINED, message, now)
    status = _report(session, conditions, Reason.JOINED, message)
    return status.model_copy(
        update={
            "pod_name": pod.name,
            "node_name": pod.node,
            "bound_at": pod.claimed_at,
            "lost_attempt": pod.attempt - 1,
            "lost_agents": max(0, (session.status.lost_agents or 0) - 1),
        }
    )


def report_moved(session: VoiceSession, room_sid: str) -> VoiceSessionStatus:
    """LiveKit was restarted: the call goes on in its room, which has another sid now."""
    return session.status.model_copy(update={"room_sid": room_sid})


def report_finished(
    session: VoiceSession,
    reason: Reason,
    message: str,
    end_reason: EndReason | None,
    now: datetime,
    pod: AgentPod | None = None,
    room: str | None = None,
    *,
    works_on: bool = False,
) -> VoiceSessionStatus:
    """The call is over, or will never be. `works_on`: its agent still has something to do."""
    conditions = session.status.conditions
    bound = find_condition(conditions, ConditionType.POD_BOUND)
    joined = find_condition(conditions, ConditionType.AGENT_JOINED)
    if bound is None or bound.status == "False":
        kind, text = (reason, message) if pod is None else (Reason.BOUND, f"Pod {pod.name} had the call.")
        conditions = _set(conditions, ConditionType.POD_BOUND, "True" if pod else "False", kind, text, now)
    if joined is None or joined.status == "False":
        conditions = _set(conditions, ConditionType.AGENT_JOINED, "False", reason, message, now)
    conditions = _set(conditions, ConditionType.FINISHED, "True", reason, message, now)
    if works_on:
        text = "The call is over; its agent still has work to do."
        conditions = _set(conditions, ConditionType.AGENT_DONE, "False", Reason.FINISHING, text, now)
    status = _report(session, conditions, reason, message)
    return status.model_copy(
        update={
            "pod_name": session.status.pod_name or (pod.name if pod else None),
            "node_name": session.status.node_name or (pod.node if pod else None),
            "attempts": max(session.status.attempts or 0, pod.attempt if pod else 0),
            "room": session.status.room or room,
            "ended_at": session.status.ended_at or now,
            "end_reason": end_reason,
        }
    )


def report_done(session: VoiceSession, lost: str, now: datetime) -> VoiceSessionStatus:
    """The agent of a call that is over has nothing left to do. `lost`: what has become of its work, if that is lost."""
    reason, message = (Reason.WORK_LOST, lost) if lost else (Reason.WORK_DONE, "The agent has done its work.")
    conditions = _set(session.status.conditions, ConditionType.AGENT_DONE, "True", reason, message, now)
    return session.status.model_copy(update={"conditions": conditions})


def _set(
    conditions: list[Condition],
    kind: ConditionType,
    status: Literal["True", "False"],
    reason: Reason,
    message: str,
    now: datetime,
) -> list[Condition]:
    return with_condition(conditions, kind, status, reason, message[:_MAX_MESSAGE], now)


def _bound(conditions: list[Condition], pod: AgentPod, now: datetime) -> list[Condition]:
    return _set(conditions, ConditionType.POD_BOUND, "True", Reason.BOUND, f"Pod {pod.name} has the call.", now)


def _where(session: VoiceSession, pod: AgentPod, room: str, start_type: StartType, provider: str) -> dict[str, object]:
    return {
        "room": room,
        "pod_name": pod.name,
        "node_name": pod.node,
        "start_type": session.status.start_type or start_type,
        "llm_provider": provider or None,
        "bound_at": pod.claimed_at,
    }


def _report(
    session: VoiceSession,
    conditions: list[Condition],
    reason: Reason,
    message: str,
    attempts: int | None = None,
    starting_slowly: bool = False,
) -> VoiceSessionStatus:
    attempts = max(session.status.attempts or 0, attempts or 0)
    return session.status.model_copy(
        update={
            "conditions": conditions,
            "phase": derive_phase(conditions, session.status.agent_joined_at is not None, starting_slowly),
            "reason": reason.value,
            "message": message[:_MAX_MESSAGE],
            "session_id": session.metadata.uid,
            "attempts": attempts,
        }
    )
