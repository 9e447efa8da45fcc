"""The benchmark of outages, short: everybody is away or hangs once, and nothing that was said is missing afterwards."""

from pathlib import Path

from benchmarks.outage import API_SERVER, IMAGE, LIVEKIT, PGBOUNCER, POSTGRES, Outage, run_outages, running_site

CALL_SECONDS = 3.0
# A machine that has other tests to run keeps up with it.
RATE = 2.0
POOL_SIZE = 20
# Postgres is away for longer than a call's end waits for it.
OUTAGES = (
    Outage(POSTGRES, 6),
    Outage(PGBOUNCER, 6, hangs=True),
    Outage(LIVEKIT, 2, hangs=True),
    Outage(IMAGE, 3),
    Outage(API_SERVER, 6),
)


async def test_calls_are_served_and_end_and_no_row_is_lost(tmp_path: Path) -> None:
    async with running_site(tmp_path, CALL_SECONDS) as site:
        await site.plane.fill_pool(POOL_SIZE)
        found = await run_outages(site, OUTAGES, calm_seconds=1, rate=RATE)
    assert (found.lost, found.load.doubled) == (0, 0)
    assert (found.unended, found.rows_lost, found.undelivered) == (0, 0, 0)
    # There was something to lose, in each of them.
    assert found.late
    assert all(stage.millis(found.load) for stage in found.stages)
