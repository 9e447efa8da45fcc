"""Somebody in a LiveKit room who hears what the control plane sends there."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from livekit import rtc

from testing.livekit import LiveKitServer, new_room
from voicesession.names import DATA_TOPIC


class Guest:
    """A customer with LiveKit's Python client.

    heard: the control plane's data messages, in order.
    gone: is set when the room closes.
    """

    def __init__(self) -> None:
        """Is nowhere yet: connect its `room`."""
        self.room = rtc.Room()
        self.heard: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.room.on("data_received", self._hear)
        self.room.on("disconnected", lambda _reason: self.gone.set())

    async def until_gone(self) -> None:
        """Waits until the room has closed."""
        async with asyncio.timeout(20):
            await self.gone.wait()

    def _hear(self, packet: rtc.DataPacket) -> None:
        if packet.topic == DATA_TOPIC:
            self.heard.append(json.loads(packet.data))


@contextlib.asynccontextmanager
async def guest_in(livekit: LiveKitServer, room: str | None = None, identity: str = "customer") -> AsyncIterator[Guest]:
    """Yields a guest in a room, by default a new one; takes it out afterwards."""
    guest = Guest()
    await guest.room.connect(livekit.url, livekit.customer_token(room or new_room(), identity))
    yield guest
    await guest.room.disconnect()
