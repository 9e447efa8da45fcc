"""The call ticket: what a room is for, signed into its metadata, and what the room's start is admitted by.

The customer can read it, and cannot make one: it carries an HMAC by the installation's key, which only its token
service and operator have. Private variables of a call never enter it.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime

from pydantic import Field, ValidationError

from voicesession import clock
from voicesession.models import Model

# The ticket's JSON with one field more, its last: so it is JSON still, and what was signed is found without a doubt.
_SIGNED = re.compile(r'(?P<fields>\{.*),"signature":"(?P<signature>[\w-]{43})"\}', re.ASCII)

# Metadata of a room that its call has left to the people in it: nobody's ticket, so nobody's business.
LEFT_TO_PEOPLE = "left to the people in it by its voice agent"


class TicketError(Exception):
    """A room's metadata that is no call ticket."""


class ForeignTicketError(TicketError):
    """A call ticket that this installation has not signed for this room."""


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
    traceparent: str | None = None  # the caller's span that the call is below, as W3C Trace Context has it
    # Set where the VoiceSession exists before its room: the room belongs to it and starts no other.
    voice_session: str | None = None


@dataclass(frozen=True, slots=True)
class TicketKey:
    """Signs tickets, and knows its own again. `key`: the installation's, the same in all of its parts."""

    key: bytes = dataclass_field(repr=False)

    def sign(self, ticket: CallTicket, room: str) -> str:
        """Returns the metadata of the one room that this ticket is for."""
        fields = ticket.model_dump_json(by_alias=True, exclude_none=True).removesuffix("}")
        return f'{fields},"signature":"{self._signature(fields, room)}"}}'

    def read(self, metadata: str, room: str) -> CallTicket:
        """Returns the ticket in a room's metadata.

        Raises:
            ForeignTicketError: it is one, and not ours: another installation's, another room's, forged or unsigned.
            TicketError: it is none; the room is somebody else's business.
        """
        signed = _SIGNED.fullmatch(metadata)
        if signed and hmac.compare_digest(signed["signature"], self._signature(signed["fields"], room)):
            return _parse(metadata)
        _parse(metadata)
        raise ForeignTicketError("the room's call ticket is not signed by this installation for this room")

    def _signature(self, fields: str, room: str) -> str:
        message = f"voice-agent/ticket\n{room}\n{fields}"
        digest = hmac.new(self.key, message.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def new_call_id() -> str:
    """Returns a call id of 128 random bits, valid as a label's value."""
    return secrets.token_hex(16)


def new_ticket(profile: str, **fields: object) -> CallTicket:
    """Returns a ticket issued now with an id of its own."""
    return CallTicket.model_validate({"call_id": new_call_id(), "issued_at": clock.now(), "profile": profile, **fields})


def _parse(metadata: str) -> CallTicket:
    try:
        return CallTicket.model_validate_json(metadata)
    except ValidationError as error:
        raise TicketError(f"room metadata is no call ticket: {error.error_count()} errors") from error
