"""A prepared call waits where it would join."""

import asyncio

from testing.waiting import let_others_run
from voice_agent.standby import Standby
from voicesession.assignment import TakeOver


async def test_it_says_once_that_it_waits_and_goes_when_it_is_told() -> None:
    said: list[str] = []
    standby = Standby(lambda: said.append("ready"))
    ahead = asyncio.create_task(standby.wait())
    await let_others_run()
    assert not said
    waits = [asyncio.create_task(standby.wait_ready()) for _ in range(2)]
    await let_others_run()
    assert (said, standby.is_over) == (["ready"], False)
    standby.take_over(TakeOver(room_token="first"))
    standby.take_over(TakeOver(room_token="second"))
    async with asyncio.timeout(5):
        assert [request.room_token for request in await asyncio.gather(ahead, *waits)] == ["first"] * 3
    assert standby.is_over


async def test_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    standby = Standby(lambda: None)
    gone = asyncio.create_task(standby.wait_ready())
    await let_others_run()
    gone.cancel()
    await asyncio.wait([gone])
    standby.take_over(TakeOver(room_token="first"))
    async with asyncio.timeout(5):
        assert (await standby.wait_ready()).room_token == "first"
