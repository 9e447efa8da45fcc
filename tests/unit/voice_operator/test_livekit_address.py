"""What agent pods are told of LiveKit's address."""

import asyncio
import socket
from typing import Any

import pytest

from voice_operator.livekit_address import LiveKitAddress, is_replaceable, with_address


@pytest.mark.parametrize(
    ("url", "replaceable"),
    [
        ("ws://livekit:7880", True),
        ("ws://livekit.voice.svc:7880", True),
        ("ws://livekit.voice.svc.cluster.local:7880", True),
        ("http://livekit:7880", True),
        ("wss://livekit:7880", False),  # its certificate has the name
        ("ws://livekit.example.com", False),  # a proxy may ask for the name
        ("ws://svc.example.com", False),
        ("ws://10.96.0.7:7880", False),
        ("ws://[fd00::7]:7880", False),
    ],
)
def test_only_names_of_services_are_replaced(url: str, replaceable: bool) -> None:
    assert is_replaceable(url) is replaceable


@pytest.mark.parametrize(
    ("url", "address", "expected"),
    [
        ("ws://livekit:7880", "10.96.0.7", "ws://10.96.0.7:7880"),
        ("ws://livekit", "10.96.0.7", "ws://10.96.0.7"),
        ("ws://livekit:7880/base?a=b", "fd00::7", "ws://[fd00::7]:7880/base?a=b"),
    ],
)
def test_the_rest_of_the_url_stays(url: str, address: str, expected: str) -> None:
    assert with_address(url, address) == expected


async def test_the_last_answer_holds_until_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str | OSError] = [OSError("no DNS"), "10.96.0.7", OSError("no DNS"), "10.96.0.8"]

    async def look_up(*_: object, **__: object) -> list[Any]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    address = LiveKitAddress("ws://livekit:7880")
    told = []
    for _ in range(4):
        await address.refresh()
        told.append(address.url)
    assert told == ["ws://livekit:7880", "ws://10.96.0.7:7880", "ws://10.96.0.7:7880", "ws://10.96.0.8:7880"]


async def test_a_name_that_has_to_stay_is_never_looked_up() -> None:
    address = LiveKitAddress("wss://acme.livekit.cloud")
    async with asyncio.timeout(1.0):
        await address.keep_fresh()
    assert address.url == "wss://acme.livekit.cloud"
