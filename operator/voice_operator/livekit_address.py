"""The LiveKit URL that agent pods are given: an address in place of a Service's name, so that none waits for DNS.

A pod would ask in the middle of its way into the room. Where the node is busy, the answer took 40 ms in one of two
calls and over 100 ms in one of ten.
"""

import asyncio
import ipaddress
import logging
import socket
from urllib.parse import urlsplit, urlunsplit

log = logging.getLogger(__name__)

# As long as cluster DNS holds its own answers.
_REFRESH_SECONDS = 5.0
_LOOKUP_SECONDS = 2.0


class LiveKitAddress:
    """Keeps the URL for pods. Without an answer of DNS it stays as it was, and at first that is the name itself."""

    def __init__(self, url: str) -> None:
        self._configured = self._current = url

    @property
    def url(self) -> str:
        """Returns what to tell a pod now."""
        return self._current

    async def keep_fresh(self) -> None:
        """Asks DNS every 5 s until cancelled; ends at once where the name has to stay."""
        if not is_replaceable(self._configured):
            return
        while True:
            await self.refresh()
            await asyncio.sleep(_REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Asks DNS once; a failure is logged."""
        parts = urlsplit(self._configured)
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError) as error:
            log.warning("the address of LiveKit is not known anew", extra={"told": self._current, "error": error})
            return
        url = with_address(self._configured, str(found[0][4][0]))
        if url != self._current:
            log.info("agent pods are told a new address of LiveKit", extra={"told": url})
            self._current = url


def is_replaceable(url: str) -> bool:
    """Tells whether only a Service's name stands in this URL.

    Any other name may be needed: by a certificate, or by a proxy that tells its servers apart by their names.
    """
    parts = urlsplit(url)
    labels = (parts.hostname or "").split(".")
    is_service = (len(labels) == 1 and ":" not in labels[0]) or "svc" in labels[2:]
    return parts.scheme in {"ws", "http"} and bool(labels[0]) and is_service


def with_address(url: str, address: str) -> str:
    """Returns the URL with this IP address (version 4 or 6) in place of its host."""
    parts = urlsplit(url)
    host = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    return urlunsplit(parts._replace(netloc=host if parts.port is None else f"{host}:{parts.port}"))
