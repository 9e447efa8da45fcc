"""Watches that end, fail or fall silent are begun anew, in this process; by a clock that nobody waits for."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace

import pytest

from kube.client import KubernetesUnavailableError
from testing.waiting import eventually, stays
from voice_operator import watches as module
from voice_operator.watches import Watches, WatchesStuckError

Run = Callable[[], Awaitable[None]]
pytestmark = pytest.mark.virtual_time


@pytest.fixture(autouse=True)
def clock_of_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())
    monkeypatch.setattr(module, "time", clock)


@pytest.fixture(autouse=True)
def short_silences(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_LOOK_SECONDS", 0.02), ("_END_SECONDS", 0.1), ("_FIRST_PAUSE", 0.01)):
        monkeypatch.setattr(module, name, seconds)


async def run_for_ever() -> None:
    await asyncio.Event().wait()


class Runs:
    """What the watches run in: each time they begin, the next of these; the last again and again."""

    def __init__(self, *runs: Run) -> None:
        self._runs = list(runs)
        self.begun = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.earlier: list[asyncio.Task[None]] = []

    async def start(self) -> list[asyncio.Task[None]]:
        run = self._runs[min(self.begun, len(self._runs) - 1)]
        self.begun += 1

        async def go() -> None:
            await run()

        self.earlier += self.tasks
        self.tasks = [asyncio.create_task(go(), name="root"), asyncio.create_task(run_for_ever(), name="other")]
        return self.tasks


async def list_all(_plural: str) -> int:
    return 7


@contextlib.asynccontextmanager
async def kept(runs: Runs, silence_seconds: float = 60.0) -> AsyncIterator[Watches]:
    watches = Watches(["pods", "agentpools"], silence_seconds, runs.start, list_all)
    task = asyncio.create_task(watches.run())
    try:
        yield watches
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def end() -> None:
    pass


async def fail() -> None:
    raise RuntimeError("out of valid credentials")


@pytest.mark.parametrize("broken", [end, fail])
async def test_what_ends_or_fails_is_begun_anew_and_nothing_of_it_goes_on(broken: Run) -> None:
    runs = Runs(broken, run_for_ever)
    async with kept(runs):
        await eventually(lambda: runs.begun == 2)
        assert all(task.done() for task in runs.earlier)
        await stays(lambda: runs.begun == 2, 0.1, "it was begun anew without a reason")
    assert all(task.done() for task in runs.tasks)


async def test_one_that_cannot_even_begin_is_tried_again() -> None:
    runs = Runs(run_for_ever)
    begin, tries = runs.start, 0

    async def start() -> list[asyncio.Task[None]]:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError
        return await begin()

    runs.start = start  # type: ignore[method-assign]
    async with kept(runs):
        await eventually(lambda: runs.begun == 1)


async def test_the_silence_of_one_kind_has_all_begun_anew() -> None:
    runs = Runs(run_for_ever)
    async with kept(runs, silence_seconds=0.3) as watches:
        talking = asyncio.create_task(say_again_and_again(watches, "agentpools"))
        await eventually(lambda: runs.begun == 2)
        plural, seconds = watches.find_silent()
        assert plural == "pods"
        assert seconds > 0.3, "a new beginning is no sign of life"
        talking.cancel()


async def say_again_and_again(watches: Watches, *plurals: str) -> None:
    while True:
        for plural in plurals:
            watches.heard(plural)
        await asyncio.sleep(0.01)  # noqa: TID251 - how often it is heard


async def test_what_is_heard_goes_on() -> None:
    runs = Runs(run_for_ever)
    async with kept(runs, silence_seconds=0.3) as watches:
        talking = asyncio.create_task(say_again_and_again(watches, "agentpools", "pods", "v1"))
        await stays(lambda: runs.begun <= 1, 0.6, "it was begun anew though it was heard")
        talking.cancel()


async def test_what_does_not_end_is_told() -> None:
    async def ignore_cancels() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.5)  # noqa: TID251 - long enough for the test
                return

    runs = Runs(ignore_cancels)
    watches = Watches(["pods"], 0.1, runs.start, list_all)
    with pytest.raises(WatchesStuckError, match="root"):
        async with asyncio.timeout(20):
            await watches.run()


async def test_a_list_waits_for_the_api_server() -> None:
    answers: list[int | Exception] = [KubernetesUnavailableError("away"), KubernetesUnavailableError("away"), 12]
    asked: Counter[str] = Counter()

    async def list_all(plural: str) -> int:
        asked[plural] += 1
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watches = Watches(["pods"], 60, Runs(run_for_ever).start, list_all)
    assert await watches.list("pods") == 12
    assert asked == {"pods": 3}


async def test_a_kind_that_is_being_listed_is_not_silent_and_has_its_whole_time_afterwards() -> None:
    answers, runs = asyncio.Event(), Runs(run_for_ever)

    async def list_slowly(_plural: str) -> int:
        await answers.wait()
        return 7

    watches = Watches(["pods"], 0.3, runs.start, list_slowly)
    listing = asyncio.create_task(watches.list("pods"))
    keeping = asyncio.create_task(watches.run())
    await eventually(lambda: watches.find_silent()[1] == 0)
    await stays(lambda: runs.begun <= 1 and watches.find_silent()[1] == 0, 0.6, "a list was broken off")
    answers.set()
    await listing
    assert watches.find_silent()[1] > 0.3, "a list is no sign of life of a watch"
    await eventually(lambda: runs.begun == 2)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
