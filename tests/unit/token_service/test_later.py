"""Work that is put off: done once, the newest of a key, and not after the service's end."""

import asyncio

import pytest

from token_service.later import Later


async def test_the_newest_of_a_key_is_done_once() -> None:
    later, done = Later(), asyncio.Queue[str]()

    async def note(what: str) -> None:
        done.put_nowait(what)

    later.start("a", 3600, lambda: note("never"))
    later.start("a", 0, lambda: note("instead"))
    later.start("b", 0, lambda: note("other"))
    assert {await done.get(), await done.get()} == {"instead", "other"}
    later.start("a", 3600, lambda: note("too late"))
    await later.close()
    assert done.empty()
    assert len(asyncio.all_tasks()) == 1


async def test_what_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    later, failed = Later(), asyncio.Event()

    async def fail() -> None:
        failed.set()
        raise ValueError("no")

    later.start("a", 0, fail)
    await failed.wait()
    await later.close()
    assert "what was put off has failed" in caplog.text
