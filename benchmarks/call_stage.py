"""What a benchmark of calls that outlive their pods asks of a stage: real calls, their faults, and their rows.

A release in a cluster is one (release_stage.py); agent processes without a cluster are the other, for short runs as
tests (process_stage.py).
"""

from collections.abc import Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from testing.customer import Customer, Transcribed

Row = dict[str, Any]

# What may happen to the pod that has a call: kill -9, the kernel's for want of memory, code that blocks its event loop,
# `kubectl delete pod`, an eviction, its node without a network.
POD_FAULTS = ("kill", "oom", "hang", "delete", "evict", "node")


@dataclass(frozen=True)
class Call:
    """A call, its customer, and how they say a sentence: returns when it was said (monotonic seconds).

    `typed`: what was said so; of what is `spoken` the customer's transcriptions tell, if they come.
    """

    room: str
    customer: Customer
    say: Callable[[str], Coroutine[Any, Any, float]]
    typed: list[str]
    spoken: list[str] = field(default_factory=list)

    def transcript(self) -> list[Transcribed]:
        """Returns whole sentences of both sides as their customer knows them, typed ones first."""
        identity = self.customer.room.local_participant.identity
        return [*(Transcribed(identity, text, 0) for text in self.typed), *self.customer.heard.transcripts]


class CallStage(Protocol):
    """Where calls are held."""

    def call(self) -> AbstractAsyncContextManager[Call]:
        """Yields a new call; its customer hangs up at the end."""

    async def until_ready(self) -> None:
        """Waits until as many pods wait as should."""

    async def hurt(self, call: Call, fault: str) -> float:
        """Has one of `POD_FAULTS` happen to the pod that has the call; returns when it happened (monotonic)."""

    async def mend(self) -> None:
        """Takes back what does not pass by itself: a node that is cut off, a process that stands still."""

    async def move(self, call: Call) -> float:
        """Asks for the call to go on in another pod (`spec.move`); returns when (monotonic)."""

    async def rows_at_end(self, call: Call) -> list[Row]:
        """Returns the conversation's rows in order, once the call is over."""


def is_message(row: Row, roles: Collection[str] = ("user", "assistant")) -> bool:
    """Tells whether a row is what one of the two has said."""
    return row["kind"] == "message" and row["role"] in roles
