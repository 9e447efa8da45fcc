"""LiveKit's clock and ours are a minute apart: its rooms can be asked for, and agents join."""

import datetime as real
from types import SimpleNamespace

import pytest
from livekit import rtc
from livekit.api import access_token

from rooms.client import RoomClient
from rooms.tokens import RoomTokens
from testing.livekit import KEY, SECRET, LiveKitServer, new_room
from voicesession.models import EffectiveLimits


class Off(real.datetime):
    """What the time is by a clock that is off."""

    seconds = 0

    @classmethod
    def now(cls, tz: real.tzinfo | None = None) -> "Off":
        shifted = real.datetime.now(tz) + real.timedelta(seconds=cls.seconds)  # noqa: TID251 - it
        return cls.fromtimestamp(shifted.timestamp(), tz)


@pytest.mark.parametrize("seconds", [58, -58])
async def test_tokens_of_a_clock_that_is_off_are_good(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    monkeypatch.setattr(Off, "seconds", seconds)
    shifted = SimpleNamespace(datetime=Off, timedelta=real.timedelta, timezone=real.timezone)
    monkeypatch.setattr(access_token, "datetime", shifted)
    name, client, agent = new_room(), RoomClient(livekit.url, KEY, SECRET), rtc.Room()
    try:
        await client.create(name, "its ticket", EffectiveLimits())
        await agent.connect(livekit.url, RoomTokens(KEY, SECRET).sign_agent(name, None))
        assert await client.has_agent(name)
    finally:
        await agent.disconnect()
        await client.close()
