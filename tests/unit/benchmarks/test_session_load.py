"""Who is waited for after a load: whoever was created, whatever its creator was answered."""

import asyncio
from typing import Any, cast

import pytest

from benchmarks import session_load
from benchmarks.control_plane import ControlPlane
from benchmarks.session_load import Load, until_accepted


class Plane:
    """An API server with some VoiceSessions, whose pods accept one more at each look. `api`: its own client."""

    def __init__(self, *names: str) -> None:
        self.api = self
        self.names = names
        self.looks = 0

    async def list_objects(self, _plural: str) -> tuple[list[dict[str, Any]], int]:
        return [{"metadata": {"name": name}} for name in self.names], 1

    async def read_results(self) -> dict[str, Any]:
        self.looks += 1
        return {"accepted": dict.fromkeys(self.names[: self.looks], 1.0)}


async def test_a_creation_whose_answer_was_lost_is_waited_for_and_one_that_was_refused_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_load, "ACCEPT_SECONDS", float("inf"))
    load = Load(5.0, due=dict.fromkeys(("created", "unanswered", "refused"), 0.0))
    load.refusals = {"unanswered": "TimeoutError", "refused": "ConnectionRefusedError"}
    async with asyncio.timeout(10):
        await until_accepted(cast(ControlPlane, Plane("created", "unanswered")), load)
    assert load.accepted.keys() == {"created", "unanswered"}
    assert load.lost == 1
