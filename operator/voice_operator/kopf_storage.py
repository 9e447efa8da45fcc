"""Nothing of kopf's own is remembered in objects: it only watches for us, so it need not compare what it saw before.

Building kopf's essence of each object for each event, which no handler of ours asks for, costs a third of the
operator's CPU.
"""

from typing import Any, cast

import kopf


class NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no last-seen state of objects."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Returns an empty essence: nothing is compared."""
        return cast(kopf.BodyEssence, {})

    def fetch(self, **_: Any) -> None:
        """Finds nothing."""

    def store(self, **_: Any) -> None:
        """Writes nothing."""


class NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers: those for events have none."""

    def fetch(self, **_: Any) -> None:
        """Finds nothing."""

    def store(self, **_: Any) -> None:
        """Writes nothing."""

    def purge(self, **_: Any) -> None:
        """Removes nothing."""

    def touch(self, **_: Any) -> None:
        """Writes nothing."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Leaves the essence as it is."""
        return essence
