"""Holds a prepared call back before it joins, until its predecessor has handed it over."""

import asyncio
from collections.abc import Callable

from voicesession.assignment import TakeOver

# An operator that does not come back must not keep a prepared pod for ever. Over the longest patience that a pool has.
STANDBY_SECONDS = 900.0


class Standby:
    """The place where a call waits that is prepared but for the joining."""

    def __init__(self, on_ready: Callable[[], None]) -> None:
        """`on_ready` is called when the call has come here, once."""
        self._on_ready = on_ready
        self._wanted: asyncio.Future[TakeOver] = asyncio.get_running_loop().create_future()
        self._is_ready = False

    @property
    def is_over(self) -> bool:
        """Whether the call was told to join."""
        return self._wanted.done()

    def take_over(self, request: TakeOver) -> None:
        """Lets the call join; the first request holds."""
        if not self._wanted.done():
            self._wanted.set_result(request)

    async def wait(self) -> TakeOver:
        """Returns what the call is to join with, when it is to."""
        return await asyncio.shield(self._wanted)

    async def wait_ready(self) -> TakeOver:
        """As `wait`, for whoever has prepared everything before."""
        if not self._is_ready:
            self._is_ready = True
            self._on_ready()
        return await self.wait()
