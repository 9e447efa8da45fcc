"""The installation that tests belong to: its key, and another's."""

from pathlib import Path

from voicesession.tickets import TicketKey, new_ticket

TICKETS = TicketKey(b"an installation's key, for tests")
FOREIGN_TICKETS = TicketKey(b"another installation's, for tests")


def write_installation_key(folder: Path, tickets: TicketKey = TICKETS) -> Path:
    """Writes the key as the parts read it; returns the file."""
    file = folder / "installation.key"
    file.write_bytes(tickets.key)
    return file


def sign_ticket(room: str, profile: str = "default", **fields: object) -> str:
    """Returns the metadata of a room that our token service has signed a new ticket for."""
    return TICKETS.sign(new_ticket(profile, **fields), room)
