"""The benchmark of the leader, short: one is killed, one is stopped, one is frozen for longer than its Lease."""

from pathlib import Path

from benchmarks.control_plane import running_control_plane
from benchmarks.leader import run_rounds
from benchmarks.writes import audit_arguments

FROZEN_SECONDS = 12
# A machine that has other tests to run keeps up with it.
RATE = 2.0
POOL_SIZE = 35


async def test_no_call_is_lost_or_doubled_and_a_deposed_leader_writes_nothing(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    async with running_control_plane(tmp_path, audit_arguments(tmp_path, log), operators=2) as plane:
        await plane.fill_pool(POOL_SIZE)
        found, load = await run_rounds(plane, log, kills=1, stops=1, frozen_seconds=FROZEN_SECONDS, rate=RATE)
    assert (load.lost, load.doubled) == (0, 0)
    assert (found.deposed_writes, found.deposed_ended) == (0, True)
    assert (len(found.kills), len(found.stops)) == (1, 1)
