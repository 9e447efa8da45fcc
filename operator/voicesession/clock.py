"""The time, with its zone: what every part writes into objects and compares with what others wrote there."""

from datetime import UTC, datetime


def now() -> datetime:
    """Returns the time in UTC."""
    return datetime.now(UTC)
