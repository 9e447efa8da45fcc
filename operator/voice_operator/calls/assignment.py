"""Builds what a claim writes on a Pod and what its agent is given. Pure."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pools.pod_template import build_owner_reference
from voicesession.assignment import Assignment, conversation_write_token
from voicesession.models import VoiceSession
from voicesession.names import (
    ATTEMPT_ANNOTATION,
    CLAIMED,
    CLAIMED_AT_ANNOTATION,
    ROOM_PREFIX,
    SESSION_LABEL,
    STATE_LABEL,
    WARM,
)
from voicesession.serving import Serving


def build_claim(pod: AgentPod, session: VoiceSession, attempt: int, now: datetime) -> Sequence[dict[str, Any]]:
    """Returns the JSON-patch by which this pod becomes this session's, and nobody else's.

    It tests what makes the pod claimable, not its resourceVersion, which the kubelet keeps moving.
    """
    labels, annotations = "/metadata/labels", "/metadata/annotations"
    owner = build_owner_reference("VoiceSession", session.metadata.name, session.metadata.uid)
    return [
        {"op": "test", "path": "/metadata/uid", "value": pod.uid},
        {"op": "test", "path": "/metadata/deletionTimestamp", "value": None},
        {"op": "test", "path": f"{labels}/{_escape(STATE_LABEL)}", "value": WARM},
        {"op": "replace", "path": f"{labels}/{_escape(STATE_LABEL)}", "value": CLAIMED},
        {"op": "add", "path": f"{labels}/{_escape(SESSION_LABEL)}", "value": session.metadata.uid},
        {"op": "add", "path": f"{annotations}/{_escape(ATTEMPT_ANNOTATION)}", "value": str(attempt)},
        {"op": "add", "path": f"{annotations}/{_escape(CLAIMED_AT_ANNOTATION)}", "value": now.isoformat()},
        {"op": "replace", "path": "/metadata/ownerReferences", "value": [owner]},
        # Resets the record of who set which field, which later writes then spare too. It is for server-side apply, and
        # nobody applies to a claimed pod; and it is 45 % of the pod as it is stored, sent and read.
        {"op": "add", "path": "/metadata/managedFields", "value": [{}]},
    ]


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


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
) -> Assignment:
    """Returns what the session's pod is given."""
    uid = session.metadata.uid
    return Assignment(
        session_id=uid,
        voice_session=session.metadata.name,
        attempt=attempt,
        room=room,
        room_sid=room_sid,
        livekit_url=livekit_url,
        room_token=room_token,
        participant_identity=session.spec.participant_identity,
        profile_name=serving.profile.metadata.name,
        profile=serving.profile.spec,
        provider=serving.provider,
        local_mode=session.spec.local_mode,
        limits=serving.limits,
        variables=session.spec.variables,
        tenant=session.spec.tenant,
        write_token=conversation_write_token(conversation_key, uid, attempt),
    )
