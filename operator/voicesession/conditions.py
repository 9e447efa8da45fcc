"""Conditions of our objects, their closed list of reasons, and the phase of a VoiceSession that follows from them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Literal

from voicesession.models import Condition, Phase


class ConditionType(StrEnum):
    """The conditions of a VoiceSession, and the one of an AgentPool or AgentProfile."""

    POD_BOUND = "PodBound"
    AGENT_JOINED = "AgentJoined"
    FINISHED = "Finished"
    AGENT_DONE = "AgentDone"
    READY = "Ready"


class Reason(StrEnum):
    """Every reason a condition of ours may carry."""

    # PodBound
    BOUND = "Bound"
    WAITING_FOR_POD = "WaitingForPod"
    NO_CAPACITY = "NoCapacity"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CODE_IMPORT_FAILED = "CodeImportFailed"
    PROTOCOL_UNKNOWN = "ProtocolUnknown"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_CONFIG_INVALID = "PodConfigInvalid"
    POD_SANDBOX_FAILED = "PodSandboxFailed"
    # AgentJoined
    JOINED = "Joined"
    JOINING = "Joining"
    ASSIGNMENT_FAILED = "AssignmentFailed"
    LIVEKIT_UNAVAILABLE = "LiveKitUnavailable"
    # AgentJoined: why the call has lost its agent; Finished, where no other may carry it on
    OUT_OF_MEMORY = "OutOfMemory"
    AGENT_CRASHED = "AgentCrashed"
    AGENT_HUNG = "AgentHung"
    POD_DELETED = "PodDeleted"
    EVICTED = "Evicted"
    NODE_LOST = "NodeLost"
    # Finished: how a call ended or why it failed
    CALL_ENDED = "CallEnded"
    CUSTOMER_GONE = "CustomerGone"
    AGENT_ERROR = "AgentError"
    ROOM_TAKEN = "RoomTaken"
    PROFILE_MISSING = "ProfileMissing"
    POOL_MISSING = "PoolMissing"
    PROVIDER_MISSING = "ProviderMissing"
    LIMIT_REACHED = "LimitReached"
    SUPERSEDED = "Superseded"
    # AgentDone: what an agent still does of a call that is over, where that takes long
    FINISHING = "Finishing"
    WORK_DONE = "WorkDone"
    WORK_LOST = "WorkLost"
    # Ready, of an AgentPool or AgentProfile; besides those of PodBound and the missing references
    PODS_WAITING = "PodsWaiting"
    PODS_STARTING = "PodsStarting"
    CRASH_LOOPING = "CrashLooping"
    POD_CREATION_FAILED = "PodCreationFailed"
    REFERENCES_FOUND = "ReferencesFound"


# Finished with one of these is phase Ended; with any other, Failed.
_ENDED_WELL = {Reason.CALL_ENDED, Reason.CUSTOMER_GONE}


def find_condition(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """Returns the condition of this type, or None."""
    return next((condition for condition in conditions if condition.type == kind), None)


def with_condition(
    conditions: Sequence[Condition],
    kind: ConditionType,
    status: Literal["True", "False", "Unknown"],
    reason: Reason,
    message: str,
    now: datetime,
) -> list[Condition]:
    """Returns `conditions` with this one set; its transition time moves only when `status` changes."""
    before = find_condition(conditions, kind)
    since = before.last_transition_time if before and before.status == status else now
    new = Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=since)
    if before is None:
        return [*conditions, new]
    return [new if condition.type == kind else condition for condition in conditions]


def is_agent_at_work(conditions: Iterable[Condition]) -> bool:
    """Tells whether the agent of a call that is over still has something to do: a tool, its code's end hooks."""
    done = find_condition(conditions, ConditionType.AGENT_DONE)
    return done is not None and done.status == "False"


def derive_phase(conditions: Iterable[Condition], joined_before: bool, starting_slowly: bool = False) -> Phase:
    """Returns the phase that these conditions amount to.

    `joined_before`: an agent has been in the room, so that another one's joining is a recovery. Where none has, nobody
    has spoken with any, and a second pod starts as a first one does.
    `starting_slowly`: the agent has been joining for over a second, so that it deserves a phase of its own.
    """
    by_type = {condition.type: condition for condition in conditions}
    finished = by_type.get(ConditionType.FINISHED)
    if finished is not None and finished.status == "True":
        return Phase.ENDED if finished.reason in _ENDED_WELL else Phase.FAILED
    joined = by_type.get(ConditionType.AGENT_JOINED)
    if joined is not None and joined.status == "True":
        return Phase.ACTIVE
    if joined_before:
        return Phase.RECOVERING
    bound = by_type.get(ConditionType.POD_BOUND)
    if bound is not None and bound.status == "True" and starting_slowly:
        return Phase.STARTING
    return Phase.PENDING
