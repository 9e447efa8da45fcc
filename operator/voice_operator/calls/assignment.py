"""Builds what the agent of a call is given, and the name of the room that is made for it. Pure."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from voice_operator.calls.memory import CallMemory
from voicesession.assignment import Assignment, FailingModel, Recovery, conversation_write_token
from voicesession.conditions import ConditionType, find_condition
from voicesession.models import VoiceSession, VoiceSessionStatus
from voicesession.names import ROOM_PREFIX
from voicesession.serving import Serving

# The least that the API takes.
SHORTEST_DURATION = 10


@dataclass(frozen=True, slots=True)
class SoFar:
    """What is known of a call when its next agent gets it. `customer`: by the word of an agent."""

    customer: str | None = None
    talked_seconds: float = 0.0
    recovery: Recovery | None = None


def sum_up(memory: CallMemory, status: VoiceSessionStatus, now: datetime, wall_ahead: timedelta) -> SoFar:
    """Returns what is known of a call at `now`, by the steady clock."""
    talked = now - memory.talks_since if memory.talks_since else timedelta(0)
    joined = find_condition(status.conditions, ConditionType.AGENT_JOINED)
    recovery = None
    if status.lost_attempt and joined and joined.status == "False":
        gap = now + wall_ahead - joined.last_transition_time
        recovery = Recovery(reason=joined.reason, gap_seconds=max(0.0, gap.total_seconds()))
    return SoFar(memory.customer, talked.total_seconds(), recovery)


def own_room_name(key: bytes, session_uid: str) -> str:
    """Returns the name of the room that the operator makes for a session: unguessable, and the same each time.

    So a restarted operator finds the room that it made before, without having written it down.
    """
    digest = hmac.new(key, f"room|{session_uid}".encode(), hashlib.sha256).digest()
    return ROOM_PREFIX + base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


def build_assignment(
    session: VoiceSession,
    serving: Serving,
    attempt: int,
    room: str,
    room_sid: str | None,
    livekit_url: str,
    room_token: str,
    conversation_key: bytes,
    so_far: SoFar | None = None,
    failing: Sequence[FailingModel] = (),
    *,
    standby: bool = False,
    traceparent: str | None = None,
) -> Assignment:
    """Returns what the session's pod is given. `so_far`: where it is not the first that has the call.

    `failing`: the pool's models that have failed lately. `traceparent`: what the agent's spans are below.
    """
    uid, so_far = session.metadata.uid, so_far or SoFar()
    limits = serving.limits
    left = limits.max_duration_seconds - so_far.talked_seconds
    return Assignment(
        session_id=uid,
        voice_session=session.metadata.name,
        attempt=attempt,
        room=room,
        room_sid=room_sid,
        livekit_url=livekit_url,
        room_token=room_token,
        participant_identity=session.spec.participant_identity or so_far.customer,
        profile_name=serving.profile.metadata.name,
        # Who else is served is nothing for a pod, whose code is one tenant's perhaps.
        profile=serving.profile.spec.model_copy(update={"allowed_tenants": None}),
        provider=serving.provider,
        local_mode=session.spec.local_mode,
        limits=limits.model_copy(update={"max_duration_seconds": max(SHORTEST_DURATION, round(left))}),
        variables=session.spec.variables,
        tenant=session.spec.tenant,
        write_token=conversation_write_token(conversation_key, uid, attempt),
        failing=list(failing) or None,
        recovery=so_far.recovery,
        standby=standby or None,
        traceparent=traceparent,
    )
