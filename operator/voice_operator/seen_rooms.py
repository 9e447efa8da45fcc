"""What the room poll has seen of the rooms of calls in progress: under which sid, and which are missing since when."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Literal

from voicesession.admission import RoomStart

Change = Literal["moved", "missing", "back"]


class SeenRooms:
    """The rooms that were asked for, by name, as LiveKit's last list had them. All times are by the steady clock."""

    def __init__(self) -> None:
        """Has seen nothing yet."""
        self._seen_at: datetime | None = None
        self._sids: dict[str, str] = {}
        self._missing: dict[str, datetime] = {}

    @property
    def missing(self) -> Collection[str]:
        """Returns the names of the rooms that the last list lacked."""
        return self._missing.keys()

    def sid_of(self, name: str, after: datetime) -> str | None:
        """Returns the sid of the room of this name; None where no list from `after` then has it."""
        return self._sids.get(name) if self._is_new(after) else None

    def missing_since(self, name: str, after: datetime) -> datetime | None:
        """Returns since when every list has lacked this room; None where none from `after` then has."""
        return self._missing.get(name) if self._is_new(after) else None

    def take(self, rooms: Iterable[RoomStart], wanted: Collection[str], asked_at: datetime) -> dict[str, Change]:
        """Takes in a list of all rooms; returns what is different now of the `wanted` ones, by name."""
        before, missed = self._sids, self._missing
        listed = {room.name: room.sid for room in rooms}
        self._seen_at = asked_at
        self._sids = {name: listed[name] for name in wanted if name in listed}
        self._missing = {name: missed.get(name, asked_at) for name in wanted if name not in listed}
        changes: dict[str, Change] = {name: "missing" for name in self._missing if name not in missed}
        for name, sid in self._sids.items():
            if name in missed:
                changes[name] = "back"
            elif before.get(name, sid) != sid:
                changes[name] = "moved"
        return changes

    def lose_sight(self) -> None:
        """LiveKit does not answer: what is missing may have come and gone meanwhile."""
        self._missing = {}

    def _is_new(self, after: datetime) -> bool:
        return self._seen_at is not None and self._seen_at >= after
