"""The operator's clock is off by a minute, or steps: calls are served."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from testing.operator_cluster import OperatorCluster
from voicesession import clock


def off_by(seconds: float) -> Iterator[float]:
    return itertools.repeat(seconds)


def stepping() -> Iterator[float]:
    """Steps by a minute at every look."""
    return itertools.cycle((0.0, 60.0, 0.0, -60.0))


@pytest.mark.parametrize(
    "offsets",
    [lambda: off_by(60), lambda: off_by(-60), stepping],
    ids=["a minute ahead", "a minute behind", "stepping"],
)
async def test_a_call_is_served_whatever_the_operators_clock_says(
    cluster: OperatorCluster, monkeypatch: pytest.MonkeyPatch, offsets: Callable[[], Iterator[float]]
) -> None:
    """Also one that waits for a pod, joins slowly, and is seen by another operator in between."""
    ahead = offsets()
    monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + timedelta(seconds=next(ahead)))  # noqa: TID251 - it
    await cluster.create_profile()
    cluster.kubelet.pod_script.join_seconds = 2
    operator = cluster.start_operator()
    await cluster.create_session("waits", room="room-1")
    await cluster.create_pool()
    await cluster.wait_for_phase("waits", "Active")
    await cluster.wait_for_warm()
    await cluster.create_session("warm", room="room-2")
    await cluster.wait_for_phase("warm", "Starting", "Active")
    await operator.stop()
    cluster.start_operator()
    for name in ("waits", "warm"):
        active = await cluster.wait_for_phase(name, "Active")
        assert cluster.stubs_with(active) == [cluster.stub_of(active)]
        assert not cluster.stub_of(active).exited
