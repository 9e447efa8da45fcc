"""Ours against a plain livekit-agents worker on the same machine in the same run: time to the agent, and memory.

Both are reached by room start alone, with no head start: the customer connects with a signed token, and the clock runs
from there until the agent's own `Room.connect` has returned: by `status.agentJoinedAt` for ours, a trip later, and by
the peer's own word (LiveKit's `joined_at` would be the begin of that connect). Beside it, until the customer's client
is told of the agent. The sides take turns, each call begins when both have refilled, and the peer has its advantages:
a LiveKit of its own on loopback (automatic dispatch would serve our rooms too), and no load at which it refuses.

Memory is the whole of ten that wait: ours by the pods' cgroups, the peer's by the proportional set size (PSS) of its
process tree, in which pages that its processes share by fork count once; our PSS is printed too. As it comes, the peer
loads a turn detector once, used or not. Without it is another figure: `lean`.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import jwt
from livekit import api, rtc

from benchmarks.capacity import require_room
from benchmarks.release import run_against, until_refilled
from benchmarks.report import Progress, percentile, print_result, print_table
from local_cluster.layout import REPOSITORY
from testing.front_door import call_service
from testing.livekit import KEY, SECRET, running_livekit
from testing.pod_memory import read_pod_memory
from testing.progress import Step
from testing.release import Release
from voicesession.names import STATE_LABEL, WARM

PEER_PREFIX = "peer-"
ARRIVAL_SECONDS = 30
IDLE_SECONDS = 180
IN_RACE, IN_MEMORY = 3, 10
# After the last process has come: a fresh pod has its greeting spoken ahead, a fresh process loads its VAD.
SETTLE_SECONDS = 2
SETTLE_FOR_MEMORY_SECONDS = 20
# Proportional set sizes of a pod's processes; the shell's own megabyte is in it.
READ_PSS = "grep -h ^Pss: /proc/[0-9]*/smaps_rollup"
Door = Callable[[], Awaitable[tuple[str, str]]]  # returns server URL and token
Witness = Callable[[str], float | None]  # returns when a room's agent joined, in seconds of the epoch, once it has


@dataclass
class Side:
    """One of the two: where its customers get in, who tells of its agents, and how long they took (ms)."""

    name: str
    door: Door
    joined_at: Witness
    livekit: api.LiveKitAPI
    joined: list[float] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Memory:
    """Bytes of pods that wait."""

    cgroups: int
    pss: int


@dataclass(frozen=True)
class PeerMemory:
    """Bytes of the peer's process tree."""

    as_it_comes: int
    lean: int


@dataclass(frozen=True)
class Worker:
    """The running peer."""

    pid: int
    log: Path

    def joined_at(self, room: str) -> float | None:
        """Returns when its agent joined the room, by its own word."""
        told = self._read_joined(room)
        return float(told[0]) if told else None

    def process_of(self, room: str) -> int | None:
        """Returns the id of the process whose agent joined the room."""
        told = self._read_joined(room)
        return int(told[1]) if told else None

    def _read_joined(self, room: str) -> list[str] | None:
        lines = (line.split() for line in self.log.read_text(errors="replace").splitlines())
        return next((words[2:] for words in lines if words[:2] == ["joined", room]), None)


async def call_once(side: Side) -> None:
    """Has a customer connect, and notes how long it took until the agent had joined, and until it was seen."""
    url, token = await side.door()
    name = room_of(token)
    room = rtc.Room()
    arrived = asyncio.Event()
    room.on("participant_connected", lambda _: arrived.set())
    began_at, began = time.time(), time.monotonic()
    try:
        await room.connect(url, token)
        if not room.remote_participants:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                await arrived.wait()
        seen = time.monotonic()
        joined_at = await until_told(side.joined_at, name)
        side.joined.append((joined_at - began_at) * 1000)
        side.seen.append((seen - began) * 1000)
    except (TimeoutError, rtc.ConnectError) as error:
        side.failures.append(f"{side.name}: no agent in {name}: {error!r}")
    finally:
        await room.disconnect()
        with contextlib.suppress(api.TwirpError):  # gone already where the agent closed it
            await side.livekit.room.delete_room(api.DeleteRoomRequest(room=name))


async def until_told(witness: Witness, room: str) -> float:
    """Returns when a room's agent joined, in seconds of the epoch.

    Raises:
        TimeoutError: nobody has told within ten seconds.
    """
    async with asyncio.timeout(10):
        while True:
            joined_at = await asyncio.to_thread(witness, room)
            if joined_at is not None:
                return joined_at
            await asyncio.sleep(0.5)


def our_witness(release: Release) -> Witness:
    """Returns a witness by the VoiceSessions."""

    def ask(room: str) -> float | None:
        for item in release.get("voicesessions")["items"]:
            status = item.get("status", {})
            if status.get("room") == room and status.get("agentJoinedAt"):
                return datetime.fromisoformat(status["agentJoinedAt"]).timestamp()
        return None

    return ask


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
async def running_worker(url: str, models: str, idle: int, *, lean: bool = False) -> AsyncIterator[Worker]:
    """Runs the peer with `idle` idle processes; yields it once all of them wait."""
    # As its users run it: that one thread drives a connection is our customer's and our pods' choice, not its own.
    environment = {name: value for name, value in os.environ.items() if name != "TOKIO_WORKER_THREADS"}
    environment |= {"LIVEKIT_URL": url, "LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET}
    environment |= {"MODELS_URL": models, "IDLE_PROCESSES": str(idle), "PYTHONPATH": str(REPOSITORY)}
    if lean:
        environment["LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE"] = "0"
    print(f"Starting the peer with {idle} idle processes", flush=True)
    with tempfile.NamedTemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.peer_agent", "start"),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            if not await is_idle(process.pid, idle):
                log.seek(0)
                raise RuntimeError(f"the peer is not up after {IDLE_SECONDS} s: {log.read()[-2000:].decode()}")
            yield Worker(process.pid, Path(log.name))
        finally:
            await end_group(process)


async def end_group(process: asyncio.subprocess.Process) -> None:
    """Ends a process and all that it started."""
    for way_out in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, way_out)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                await process.wait()


async def is_idle(pid: int, idle: int) -> bool:
    """Waits until the worker has its idle processes beside itself and two helpers, and they have stopped growing."""
    deadline = time.monotonic() + IDLE_SECONDS
    steady, before = 0, 0
    while steady < 5:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(1)
        now = tree_pss(pid)
        grown = abs(now - before) > 1024 * 1024
        steady = steady + 1 if len(tree(pid)) >= idle + 3 and not grown else 0
        before = now
    return True


async def until_processes(pid: int, count: int) -> None:
    """Waits until the worker has all its processes again."""
    deadline = time.monotonic() + IDLE_SECONDS
    while len(tree(pid)) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the peer has {len(tree(pid))} processes, not {count}, after {IDLE_SECONDS} s")
        await asyncio.sleep(0.5)


def tree(pid: int) -> list[int]:
    """Returns `pid` and all its descendants that live: each thread has children of its own."""
    children: list[str] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children += thread.read_text().split()
    return [pid, *(descendant for child in children for descendant in tree(int(child)))]


def tree_pss(pid: int) -> int:
    """Returns the proportional set size of a process tree in bytes: shared pages count once."""
    total = 0
    for member in tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


async def race(release: Release, sides: tuple[Side, Side], worker: Worker, count: int) -> None:
    """Lets both sides serve `count` customers each, in turns."""
    progress = Progress("pairs of calls", count)
    processes = len(tree(worker.pid))
    for number in range(1, count + 1):
        for side in sides:
            await until_refilled(release)
            await until_processes(worker.pid, processes)
            await asyncio.sleep(SETTLE_SECONDS)
            await call_once(side)
        progress.at(number)


def pool_memory(release: Release, count: int) -> Memory:
    """Returns what `count` pods that wait have; the pool is as it was afterwards."""
    minimum = release.get("agentpool", "default")["spec"]["warm"]["min"]
    release.kubectl("scale", "agentpool/default", f"--replicas={count}")
    try:
        release.wait_until_ready(Step("warm pods"), timeout=240)
        asyncio.run(until_refilled(release))
        time.sleep(SETTLE_FOR_MEMORY_SECONDS)
        pods = [pod["metadata"]["name"] for pod in release.get("pods", "-l", f"{STATE_LABEL}={WARM}")["items"]]
        if len(pods) < count:
            raise RuntimeError(f"{len(pods)} pods wait, not {count}")
        return Memory(
            sum(read_pod_memory(release, pod).working_set for pod in pods[:count]),
            sum(pod_pss(release, pod) for pod in pods[:count]),
        )
    finally:
        release.kubectl("scale", "agentpool/default", f"--replicas={minimum}")


def pod_pss(release: Release, pod: str) -> int:
    """Returns the proportional set size of a pod's processes in bytes."""
    lines = release.kubectl("exec", pod, "--", "sh", "-c", READ_PSS).splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines)


async def compare(release: Release, count: int) -> tuple[Side, Side, PeerMemory]:
    """Runs the race; returns ours, the peer, and the memory of the peer's whole with ten idle processes."""
    key, secret = release.livekit_credentials()
    models = f"http://{release.local_models_address()}/v1"
    with running_livekit() as peer_livekit:
        ours_api = api.LiveKitAPI(f"http://{release.livekit_address()}", key, secret)
        peer_api = peer_livekit.client()
        async with ours_api, peer_api:
            async with running_worker(peer_livekit.url, models, IN_RACE) as worker:
                our_address = f"http://{release.token_service_address()}"
                ours = Side("ours (pods)", our_door(our_address), our_witness(release), ours_api)
                their_door = peer_door(peer_livekit.url, KEY, SECRET)
                peer = Side("peer (worker)", their_door, worker.joined_at, peer_api)
                await race(release, (ours, peer), worker, count)
            async with running_worker(peer_livekit.url, models, IN_MEMORY) as worker:
                as_it_comes = tree_pss(worker.pid)
            async with running_worker(peer_livekit.url, models, IN_MEMORY, lean=True) as worker:
                return ours, peer, PeerMemory(as_it_comes, tree_pss(worker.pid))


def report(ours: Side, peer: Side, our_memory: Memory, peer_memory: PeerMemory) -> int:
    """Prints the table, what failed, and the last line; returns 1 where an agent never came."""
    joined = {f"{side.name}: the agent has joined": side.joined for side in (ours, peer)}
    seen = {f"{side.name}: the customer sees it": side.seen for side in (ours, peer)}
    print_table("From the customer beginning to connect", joined | seen)
    print(f"\nMemory of the whole with {IN_MEMORY} that wait [MiB]")
    print(f"  {'ours, cgroups (working set)':<44}{our_memory.cgroups / 2**20:9.0f}")
    print(f"  {'ours, PSS':<44}{our_memory.pss / 2**20:9.0f}")
    print(f"  {'peer, PSS of the tree':<44}{peer_memory.as_it_comes / 2**20:9.0f}")
    print(f"  {'peer without its turn detector':<44}{peer_memory.lean / 2**20:9.0f}")
    failures = ours.failures + peer.failures
    for failure in failures:
        print(f"  failed: {failure}")
    print_result(
        {
            "joined_ratio": percentile(ours.joined, 0.5) / percentile(peer.joined, 0.5),
            "seen_ratio": percentile(ours.seen, 0.5) / percentile(peer.seen, 0.5),
            "memory_ratio": our_memory.cgroups / peer_memory.as_it_comes,
            "memory_ratio_lean": our_memory.cgroups / peer_memory.lean,
            "ours_p50_ms": percentile(ours.joined, 0.5),
            "peer_p50_ms": percentile(peer.joined, 0.5),
            "ours_mib": our_memory.cgroups / 2**20,
            "peer_mib": peer_memory.as_it_comes / 2**20,
            "failures": len(failures),
        }
    )
    return 1 if failures else 0


def main() -> int:
    """Runs the benchmark; returns 1 where an agent never came."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="calls of each side (default 20)")
    parser.add_argument("--release", default="voice", help="release and namespace (default voice, as the demo's)")
    arguments = parser.parse_args()

    def measure(release: Release) -> int:
        # The last thing that is measured, and more than one node of two cores has room for.
        require_room(release, IN_MEMORY)
        ours, peer, peer_memory = asyncio.run(compare(release, arguments.count))
        return report(ours, peer, pool_memory(release, IN_MEMORY), peer_memory)

    return run_against(arguments.release, measure)


if __name__ == "__main__":
    sys.exit(main())
