"""What the work queue holds: one key for each thing that is reconciled, and a lane for each kind."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from voice_operator.work_queue import Lane


class Kind(StrEnum):
    """The kinds of keys; each has one function that reconciles it."""

    CALL = "call"  # by the VoiceSession's uid
    ROOM = "room"  # by the VoiceSession's uid: the step of its call that needs LiveKit
    POD = "pod"  # by the VoiceSession's uid: the step of its call that speaks to a pod and may wait for it
    POOL = "pool"  # by the AgentPool's name
    PREPARATION = "preparation"  # greetings for the idle pods of the AgentPool of this name
    PROFILE = "profile"  # by the AgentProfile's name
    CLOSING = "closing"  # by the VoiceSession's uid: a conversation that its agent could not close


# What waits for LiveKit, Postgres, a pod or a pool's creations waits there alone: claims need the lane of calls.
LANES: Mapping[Kind, Lane] = {
    Kind.CALL: Lane(workers=64),
    Kind.ROOM: Lane(workers=16, seconds=20),
    Kind.POD: Lane(workers=32, seconds=20),
    Kind.POOL: Lane(workers=16, seconds=60, max_backoff=15),
    Kind.PREPARATION: Lane(workers=4, seconds=60, max_backoff=30),
    Kind.PROFILE: Lane(workers=4, max_backoff=15),
    Kind.CLOSING: Lane(workers=2, max_backoff=10),
}


class Key(NamedTuple):
    """A thing to reconcile."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"
