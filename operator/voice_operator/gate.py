"""The last wall before a write: a process that may not write sends no request that changes something.

It stands where the bytes leave, after every wait: a process that was stopped in the middle of a request and wakes up
when somebody else leads finds it closed.
"""

from collections.abc import Callable

import aiohttp

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class NotLeadingError(aiohttp.ClientConnectionError):
    """The request was not sent: another operator may be leading."""


def build_request_class(may_write: Callable[[], bool]) -> type[aiohttp.ClientRequest]:
    """Returns what an aiohttp session sends its requests by, so that it writes only while `may_write` says so."""

    class GatedRequest(aiohttp.ClientRequest):
        async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
            if self.method not in _READS and not may_write():
                raise NotLeadingError(f"{self.method} {self.url.path}: this operator does not lead")
            return await super().send(conn)

    return GatedRequest
