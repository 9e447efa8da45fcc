"""The call ticket: what the token service signs into a room's metadata, and what a room start is admitted by.

The customer can read it. Private variables of a call never enter it.
"""

import secrets
from datetime import datetime

from pydantic import Field, ValidationError

from voicesession import clock
from voicesession.models import Model


class TicketError(Exception):
    """A room's metadata that is no call ticket of ours."""


class CallTicket(Model):
    """What a started room was asked for."""

    call_id: str = Field(min_length=16, max_length=63)
    issued_at: datetime
    profile: str = "default"
    tenant: str | None = None
    participant_identity: str | None = None
    llm_provider: str | None = None
    local_mode: bool = False
    variables: dict[str, str] = Field(default_factory=dict)
    # Set where the VoiceSession exists before its room: the room belongs to it and starts no other.
    voice_session: str | None = None


def new_call_id() -> str:
    """Returns a call id of 128 random bits, valid as a label's value."""
    return secrets.token_hex(16)


def parse_ticket(metadata: str) -> CallTicket:
    """Returns the ticket in a room's metadata.

    Raises:
        TicketError: it is none; the room is somebody else's business.
    """
    try:
        return CallTicket.model_validate_json(metadata)
    except ValidationError as error:
        raise TicketError(f"room metadata is no call ticket: {error.error_count()} errors") from error


def new_ticket(profile: str, **fields: object) -> CallTicket:
    """Returns a ticket issued now with an id of its own."""
    return CallTicket.model_validate({"call_id": new_call_id(), "issued_at": clock.now(), "profile": profile, **fields})
