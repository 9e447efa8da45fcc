"""An event loop that stands still is noticed, and one that works is let alone."""

import asyncio
import threading

from testing.waiting import stays
from voice_agent.process import watchdog


def stand_still(until: threading.Event) -> None:
    until.wait(20)


async def test_a_standstill_is_told_with_its_place() -> None:
    told: list[list[str]] = []
    noticed = threading.Event()

    def note(at: list[str]) -> None:
        told.append(at)
        noticed.set()

    watchdog.watch_event_loop(0.24, note)
    stand_still(noticed)
    assert noticed.is_set()
    (at,) = told
    assert any(place.startswith("process/test_watchdog.py:") and place.endswith(" stand_still") for place in at)
    assert at[-1].endswith(" wait"), "the innermost frame comes last"


async def test_a_loop_that_answers_is_let_alone() -> None:
    told: list[list[str]] = []
    watchdog.watch_event_loop(0.6, told.append)
    await stays(lambda: not told, 1.5, "a standstill was told of a loop that works")


def test_it_ends_with_its_loop() -> None:
    async def watched() -> None:
        watchdog.watch_event_loop(0.24, lambda _: None)

    asyncio.run(watched())
    for thread in threading.enumerate():
        if thread.name == "watchdog":
            thread.join(20)
            assert not thread.is_alive()
