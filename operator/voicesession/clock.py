"""The time: of the wall, for what others read, and a steady one, by which everything is decided."""

import time
from datetime import UTC, datetime, timedelta

# How far the clocks of two machines may be apart without harm to anybody.
MAX_ERROR = timedelta(seconds=60)


def now() -> datetime:
    """Returns the time in UTC: for what is written into objects, signed, or shown. It may be off, and it may step."""
    return datetime.now(UTC)


_BEGAN, _BEGAN_AT = time.monotonic(), now()


def steady() -> datetime:
    """Returns a time that nobody sets: it began as this process's first `now`, and runs evenly since.

    Deadlines and durations are counted by it, from what this process saw itself. It is compared with nothing that
    another process wrote.
    """
    return _BEGAN_AT + timedelta(seconds=time.monotonic() - _BEGAN)


def wall_ahead() -> timedelta:
    """Returns what is to be added to a `steady` moment for what is written."""
    return now() - steady()


def at_first_sight(stamp: datetime | None, seen_at: datetime, ahead: timedelta) -> datetime:
    """Returns the steady moment of what another process stamped before this one saw it, at `seen_at`.

    The stamp is trusted to within MAX_ERROR, and no moment is later than its sight: so nothing is over too early.
    `ahead`: as `wall_ahead` says.
    """
    return min(seen_at, stamp - ahead + MAX_ERROR) if stamp else seen_at
