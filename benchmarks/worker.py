"""Ours against a plain livekit-agents worker on the same machine in the same run: time to the agent, and memory.

Both are reached by room start alone, with no head start: the customer connects with a signed token, and the clock
runs from there until LiveKit itself has the agent in the room (`joined_at_ms` of its participant). The peer has a
LiveKit of its own on loopback (automatic dispatch would otherwise serve our rooms too), which is the best case for it.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import jwt
from livekit import api, rtc

from benchmarks.report import Progress, percentile, print_result, print_table
from demo.front_door import call_service
from demo.memory import read_pod_memory
from demo.progress import Step
from demo.release import ROOT, Release
from tests.support.livekit import KEY, SECRET, running_livekit

PEER_PREFIX = "peer-"
Door = Callable[[], Awaitable[tuple[str, str]]]  # returns server URL and token


@dataclass(frozen=True)
class Side:
    """One of the two: where its customers get in, and where its LiveKit answers."""

    name: str
    door: Door
    livekit: api.LiveKitAPI


async def arrival_millis(side: Side) -> float:
    """Returns the milliseconds from the customer beginning to connect until the agent is in the room."""
    url, token = await side.door()
    name = room_of(token)
    room = rtc.Room()
    arrived = asyncio.Event()
    room.on("participant_connected", lambda _: arrived.set())
    began = time.time() * 1000
    await room.connect(url, token)
    try:
        if not room.remote_participants:
            await asyncio.wait_for(arrived.wait(), 30)
        everyone = await side.livekit.room.list_participants(api.ListParticipantsRequest(room=name))
        agent = next(one for one in everyone.participants if one.kind == api.ParticipantInfo.Kind.AGENT)
        return agent.joined_at_ms - began
    finally:
        await room.disconnect()
        with contextlib.suppress(api.TwirpError):  # gone already where the agent closed it
            await side.livekit.room.delete_room(api.DeleteRoomRequest(room=name))


def room_of(token: str) -> str:
    """Returns the room a token is for; its signature is LiveKit's business."""
    return str(jwt.decode(token, options={"verify_signature": False})["video"]["room"])


def our_door(front_door: str) -> Door:
    """Returns the door of our token service: it only signs."""

    async def ask() -> tuple[str, str]:
        answer = await asyncio.to_thread(call_service, "POST", "/api/token", {}, None, front_door)
        return answer["server_url"], answer["participant_token"]

    return ask


def peer_door(url: str, key: str, secret: str) -> Door:
    """Returns a door that signs a token for a new room of the peer's LiveKit."""

    async def ask() -> tuple[str, str]:
        grants = api.VideoGrants(room_join=True, room=PEER_PREFIX + secrets.token_hex(8))
        token = api.AccessToken(key, secret).with_identity("customer").with_grants(grants)
        return url, token.to_jwt()

    return ask


@contextlib.asynccontextmanager
async def running_worker(url: str, key: str, secret: str, models: str, idle: int) -> AsyncIterator[int]:
    """Runs the peer with `idle` idle processes; yields its process id once all of them wait."""
    environment = {**os.environ, "LIVEKIT_URL": url, "LIVEKIT_API_KEY": key, "LIVEKIT_API_SECRET": secret}
    environment |= {"MODELS_URL": models, "IDLE_PROCESSES": str(idle), "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.peer_agent", "start"),
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await wait_for_idle(process.pid, idle)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def wait_for_idle(pid: int, idle: int) -> None:
    """Waits until the worker's tree has stopped growing: main, fork server, resource tracker, idle processes."""
    deadline = time.monotonic() + 180
    steady, before = 0, 0
    while steady < 5:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the worker's {idle} idle processes were not up within 180 s")
        await asyncio.sleep(1)
        now = tree_pss(pid)
        grown = abs(now - before) > 1024 * 1024
        steady = steady + 1 if len(tree(pid)) > idle and not grown else 0
        before = now


def tree(pid: int) -> list[int]:
    """Returns `pid` and all its descendants that live."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(grandchild for child in children for grandchild in tree(int(child)))]


def tree_pss(pid: int) -> int:
    """Returns the proportional set size of a process tree in bytes: shared pages count once."""
    total = 0
    for member in tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


async def race(ours: Side, peer: Side, count: int) -> tuple[list[float], list[float]]:
    """Lets both sides serve `count` customers each, in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    progress = Progress("pairs of calls", count)
    for number in range(1, count + 1):
        for values, side in zip(times, (ours, peer), strict=True):
            values.append(await arrival_millis(side))
            await asyncio.sleep(3)  # both refill: an import takes 3 CPU-seconds
        progress.at(number)
    return times


def pool_memory(release: Release, count: int) -> int:
    """Returns the working set of `count` waiting pods, in bytes."""
    release.kubectl("scale", "agentpool/default", f"--replicas={count}")
    release.wait_until_ready(Step("warm pods"), timeout=240)
    pods = release.get("pods", "-l", "voiceagents.dev/state=warm")["items"][:count]
    return sum(read_pod_memory(release, pod["metadata"]["name"]).working_set for pod in pods)


async def compare(release: Release, count: int) -> dict[str, object]:
    """Runs both comparisons and returns the last line's figures."""
    key, secret = release.livekit_credentials()
    models = f"http://{release.local_models_address()}/v1"
    with running_livekit() as peer_livekit:
        ours_api = api.LiveKitAPI(f"http://{release.livekit_address()}", key, secret)
        peer_api = peer_livekit.client()
        async with ours_api, peer_api:
            ours = Side("ours", our_door(f"http://{release.token_service_address()}"), ours_api)
            peer = Side("peer", peer_door(peer_livekit.url, KEY, SECRET), peer_api)
            credentials = (peer_livekit.url, KEY, SECRET, models)
            async with running_worker(*credentials, idle=3):
                our_times, peer_times = await race(ours, peer, count)
            async with running_worker(*credentials, idle=10) as pid:
                peer_bytes = tree_pss(pid)
    minimum = release.get("agentpool", "default")["spec"]["warm"]["min"]
    our_bytes = await asyncio.to_thread(pool_memory, release, 10)
    await asyncio.to_thread(release.kubectl, "scale", "agentpool/default", f"--replicas={minimum}")
    print_table(
        "Customer begins to connect → agent in the room", {"ours (pods)": our_times, "peer (worker)": peer_times}
    )
    print(f"\nMemory of 10 that wait: ours {our_bytes / 2**20:.0f} MiB, peer {peer_bytes / 2**20:.0f} MiB (whole tree)")
    return {
        "joined_ratio": percentile(our_times, 0.5) / percentile(peer_times, 0.5),
        "memory_ratio": our_bytes / peer_bytes,
        "ours_p50_ms": percentile(our_times, 0.5),
        "peer_p50_ms": percentile(peer_times, 0.5),
    }


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="calls of each side (default 20)")
    parser.add_argument("--release", default="voice", help="release and namespace (default voice, as the demo's)")
    arguments = parser.parse_args()
    release = Release(arguments.release, arguments.release)
    release.wait_until_ready(Step("release"), timeout=300)
    print_result(asyncio.run(compare(release, arguments.count)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
