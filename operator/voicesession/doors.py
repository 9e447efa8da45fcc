"""Through which door a call came, as its VoiceSession shows. Pure."""

from typing import Literal

from voicesession.models import VoiceSession
from voicesession.names import CALL_LABEL, voice_session_name

Door = Literal["token", "connection-details", "applied"]


def find_door(session: VoiceSession) -> Door:
    """Returns the front door's half that signed the call's ticket; `applied` where somebody made the VoiceSession."""
    call_id = session.metadata.labels.get(CALL_LABEL)
    if call_id is None:
        return "applied"
    # Only there the VoiceSession is named before its room has a sid.
    return "connection-details" if session.metadata.name == voice_session_name(call_id) else "token"
