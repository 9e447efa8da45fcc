"""Builds what the agent of a call is given, and the name of the room that is made for it. Pure."""

import base64
import hashlib
import hmac

from voicesession.assignment import Assignment, conversation_write_token
from voicesession.models import VoiceSession
from voicesession.names import (
    ROOM_PREFIX,
)
from voicesession.serving import Serving


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
