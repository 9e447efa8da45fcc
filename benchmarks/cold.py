"""VoiceSession created → agent joined where no pod waits: it is made for the call; its image is on the node already."""

import argparse
import asyncio
import sys
import time

import aiohttp

from benchmarks.handover import Measured, Rooms, Sessions, admin_connection, hand_over_once
from benchmarks.release import run_against
from benchmarks.report import Progress, percentile, print_result, print_table
from testing.release import Release, ReleaseError
from voicesession.names import API_VERSION, POOL_LABEL

NAME = "cold"
GONE_SECONDS = 60.0


def add_pool(release: Release) -> None:
    """Adds a pool like the default one in which nobody waits, and its profile."""
    default = release.get("agentpool", "default")["spec"]
    spec = {**default, "warm": {"min": 0, "max": 1, "scaleDownDelaySeconds": 0}}
    release.apply(
        {"apiVersion": API_VERSION, "kind": "AgentPool", "metadata": {"name": NAME}, "spec": spec},
        {"apiVersion": API_VERSION, "kind": "AgentProfile", "metadata": {"name": NAME}, "spec": {"pool": NAME}},
    )


def wait_until_empty(release: Release) -> None:
    """Waits until no pod of the pool is left.

    Raises:
        ReleaseError: one still is after a minute.
    """
    deadline = time.monotonic() + GONE_SECONDS
    while release.get("pods", "-l", f"{POOL_LABEL}={NAME}")["items"]:
        if time.monotonic() > deadline:
            raise ReleaseError(f"pods of pool {NAME} are left {GONE_SECONDS:.0f} s after their call")
        time.sleep(1)


async def start_cold(release: Release, count: int, pause: float) -> Measured:
    """Starts `count` calls one after the other, each `pause` seconds after the last pod is gone."""
    rooms = Rooms(release)
    server, context = admin_connection()
    measured = Measured()
    progress = Progress("cold starts", count)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
        sessions = Sessions(http, server, release.namespace)
        for number in range(1, count + 1):
            await asyncio.to_thread(wait_until_empty, release)
            await asyncio.sleep(pause)
            await hand_over_once(rooms, sessions, measured, NAME)
            progress.at(number)
    return measured


def report(measured: Measured) -> int:
    """Prints the table, what failed, and the last line; returns 1 where an agent never came."""
    rows = {
        "VoiceSession created → agent joined": measured.joined,
        "the same until the customer was told": measured.seen,
    }
    print_table("Cold start", rows)
    for failure in measured.failures:
        print(f"  failed: {failure}")
    print_result(
        {
            "joined_p50_ms": percentile(measured.joined, 0.5),
            "joined_max_ms": percentile(measured.joined, 1.0),
            "count": len(measured.joined),
            "failures": len(measured.failures),
        }
    )
    return 1 if measured.failures else 0


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=__doc__)
    parser.add_argument("--count", type=int, default=10, help="cold starts (default 10)")
    parser.add_argument("--pause", type=float, default=5.0, help="quiet seconds before each (default 5)")
    parser.add_argument("--release", default="voice", help="release and namespace (default voice, as the demo's)")
    arguments = parser.parse_args()

    def measure(release: Release) -> int:
        add_pool(release)
        try:
            return report(asyncio.run(start_cold(release, arguments.count, arguments.pause)))
        finally:
            release.kubectl("delete", f"agentprofile/{NAME}", f"agentpool/{NAME}", "--wait=false")

    return run_against(arguments.release, measure)


if __name__ == "__main__":
    sys.exit(main())
