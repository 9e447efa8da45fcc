"""What agents' code keeps, without a pod around it."""

from collections.abc import Mapping
from typing import Any

import pytest

from voice_agent import memory


@pytest.fixture(autouse=True)
def _put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("attempt", "history", "saved", "_keep"):
        monkeypatch.setattr(memory, name, getattr(memory, name))


async def test_on_a_laptop_it_stays_in_the_process() -> None:
    pizzas = ["funghi"]
    assert not await memory.save({"pizzas": pizzas})
    pizzas.append("salami")
    assert (memory.attempt, memory.history, memory.saved) == (1, (), {"pizzas": ["funghi"]})


async def test_in_a_pod_it_is_kept() -> None:
    kept: list[Mapping[str, Any]] = []

    async def keep(value: Mapping[str, Any]) -> bool:
        kept.append(value)
        return True

    memory.begin(2, keep)
    memory.recall((), {"a": 1})
    assert (memory.attempt, memory.saved) == (2, {"a": 1})
    assert await memory.save({"a": 2})
    assert kept == [memory.saved] == [{"a": 2}]


@pytest.mark.parametrize(
    ("value", "error", "told"),
    [
        ([1], TypeError, "a JSON object, not a list"),
        ({"a": object()}, TypeError, "not JSON serializable"),
        ({"a": float("nan")}, ValueError, "Out of range"),
        ({"a": "ä" * 40_000}, ValueError, "at most 65536 bytes of JSON; these are 80008"),
    ],
)
async def test_what_cannot_be_kept_is_refused(value: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        await memory.save(value)
    assert memory.saved == {}
