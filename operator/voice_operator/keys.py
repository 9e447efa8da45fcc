"""What the work queue holds: one key for each thing that is reconciled."""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The kinds of keys; each has one function that reconciles it."""

    CALL = "call"  # by the VoiceSession's uid
    POOL = "pool"  # by the AgentPool's name
    PREPARATION = "preparation"  # greetings for the idle pods of the AgentPool of this name
    PROFILE = "profile"  # by the AgentProfile's name
    CLOSING = "closing"  # by the VoiceSession's uid: a conversation that its agent could not close


class Key(NamedTuple):
    """A thing to reconcile."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"
