"""What a ticket's signature holds, and that nobody else can make one."""

import json

import pytest

from testing.tickets import FOREIGN_TICKETS, TICKETS
from voicesession.tickets import ForeignTicketError, TicketError, new_ticket

TICKET = new_ticket("default", tenant="acme", variables={"name": 'Zoë "the first" \n } ü'})
METADATA = TICKETS.sign(TICKET, "room")


def test_a_ticket_comes_back_as_it_was_signed_and_anybody_can_read_it() -> None:
    assert TICKETS.read(METADATA, "room") == TICKET
    assert json.loads(METADATA)["variables"] == TICKET.variables
    assert "key" not in repr(TICKETS)


@pytest.mark.parametrize(
    "metadata",
    [
        METADATA.replace("acme", "beta"),
        METADATA.replace('"profile":"default"', '"profile":"hidden"'),
        METADATA[:-3] + "A" * (METADATA[-3] != "A") + "B" * (METADATA[-3] == "A") + METADATA[-2:],
        METADATA.removesuffix("}") + ',"profile":"hidden"}',
        json.dumps({**json.loads(METADATA), "profile": "hidden"}),
        TICKET.model_dump_json(by_alias=True),
        TICKET.model_dump_json(by_alias=True)[:-1] + ',"signature":""}',
        FOREIGN_TICKETS.sign(TICKET, "room"),
        TICKETS.sign(TICKET, "another-room"),
    ],
)
def test_what_our_key_has_not_signed_for_this_room_is_foreign(metadata: str) -> None:
    with pytest.raises(ForeignTicketError):
        TICKETS.read(metadata, "room")


@pytest.mark.parametrize("metadata", ["", "{}", "null", '{"signature":"' + "A" * 43 + '"}', "\u0000", '{"callId": 1}'])
def test_what_is_no_ticket_is_somebody_else_s_business(metadata: str) -> None:
    with pytest.raises(TicketError) as raised:
        TICKETS.read(metadata, "room")
    assert not isinstance(raised.value, ForeignTicketError)
