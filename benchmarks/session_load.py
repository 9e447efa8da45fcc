"""Creates VoiceSessions at even times, and learns which of them were accepted, when, and by how many pods."""

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp

from benchmarks.control_plane import ControlPlane
from benchmarks.report import Progress
from voicesession.names import VOICE_SESSIONS

CREATE_SECONDS = 20
# Whoever is not accepted by then has been given up by the operator.
ACCEPT_SECONDS = 20


@dataclass
class Load:
    """VoiceSessions at one rate and what came of them.

    `in_rooms`: there is a room for each; else the operator makes it. `patience`: seconds until a creation is given up.
    """

    rate: float
    profile: str = "default"
    in_rooms: bool = True
    patience: float = CREATE_SECONDS
    due: dict[str, float] = field(default_factory=dict)  # by VoiceSession, by the monotonic clock
    refusals: dict[str, str] = field(default_factory=dict)  # words, by VoiceSession
    accepted: dict[str, float] = field(default_factory=dict)
    doubled: int = 0

    @property
    def millis(self) -> list[float]:
        """Returns the milliseconds from due to accepted."""
        return [(self.accepted[name] - due) * 1000 for name, due in self.due.items() if name in self.accepted]

    @property
    def lost(self) -> int:
        """Returns how many VoiceSessions no pod has accepted."""
        return len(self.due.keys() - self.accepted.keys())

    def tell_refusals(self) -> None:
        """Prints what the first creations that failed were answered."""
        for refusal in list(self.refusals.values())[:3]:
            print(f"    not created: {refusal[:200]}")


async def run_load(plane: ControlPlane, rate: float, count: int, pool_size: int) -> Load:
    """Creates `count` VoiceSessions; returns when none of them is left and the pool is full again."""
    load = Load(rate)
    doubled = (await plane.read_results())["doubled"]
    await create_at_rate(plane, load, count)
    await until_accepted(plane, load)
    await plane.until_calls_are_gone(count, pool_size)
    load.doubled = (await plane.read_results())["doubled"] - doubled
    return load


@contextlib.asynccontextmanager
async def creating(plane: ControlPlane, load: Load) -> AsyncIterator[None]:
    """Creates VoiceSessions meanwhile."""
    task = asyncio.create_task(create_at_rate(plane, load))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def create_at_rate(plane: ControlPlane, load: Load, count: int | None = None) -> None:
    """Creates `count`, or without end, each when it is due, whether or not earlier ones are served."""
    progress = Progress(f"VoiceSessions at {load.rate:g}/s", count) if count else None
    prefix = f"bench-{secrets.token_hex(3)}"

    async def create(name: str) -> None:
        try:
            async with asyncio.timeout(load.patience):
                await plane.sessions.create(name, f"room-{name}" if load.in_rooms else None, load.profile)
        except asyncio.CancelledError:
            del load.due[name]  # in the middle of its creation, which nobody waits for any more
            raise
        except (aiohttp.ClientError, RuntimeError, TimeoutError) as error:
            load.refusals[name] = f"{type(error).__name__}: {error}"

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in itertools.count() if count is None else range(count):
            due = began + number / load.rate
            await asyncio.sleep(due - time.monotonic())
            name = f"{prefix}-{number}"
            load.due[name] = due
            group.create_task(create(name))
            if progress:
                progress.at(number + 1)


async def until_accepted(plane: ControlPlane, load: Load) -> None:
    """Waits until all that were created are accepted, or given up."""
    deadline = time.monotonic() + ACCEPT_SECONDS
    created = load.due.keys() - await _find_uncreated(plane, load)
    while True:
        await read_accepted(plane, load)
        if created <= load.accepted.keys() or time.monotonic() > deadline:
            return
        await asyncio.sleep(0.5)


async def _find_uncreated(plane: ControlPlane, load: Load) -> set[str]:
    """Returns those that were refused and do not exist: a creation whose answer was lost has taken effect."""
    if not load.refusals:
        return set()
    objects, _ = await plane.api.list_objects(VOICE_SESSIONS)
    return load.refusals.keys() - {each["metadata"]["name"] for each in objects}


async def read_accepted(plane: ControlPlane, load: Load) -> None:
    """Learns which of them are accepted by now."""
    accepted = (await plane.read_results())["accepted"]
    load.accepted = {name: accepted[name] for name in load.due.keys() & accepted.keys()}
