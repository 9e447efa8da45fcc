"""The benchmark of the operator's restart, short: a few calls are in progress when it is killed."""

from pathlib import Path

from benchmarks.control_plane import running_control_plane
from benchmarks.restart import CALL_SECONDS, NEW_CALLS, run_stage

COUNTS = (3, 20)


async def test_calls_in_progress_are_followed_again_and_new_ones_are_served(tmp_path: Path) -> None:
    names: list[str] = []
    async with running_control_plane(tmp_path, call_seconds=CALL_SECONDS) as plane:
        stages = [await run_stage(plane, names, count) for count in COUNTS]
    for stage in stages:
        assert stage.followed < float("inf")
        assert (len(stage.claims), stage.silent, stage.ended_wrongly) == (NEW_CALLS, 0, 0)
        assert max(stage.claims) < float("inf")
