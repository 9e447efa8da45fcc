"""What may break beside the pods that have calls: nodes, operators, Lease, API server, database, LiveKit, models."""

import asyncio
import json
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from benchmarks.call_stage import Row
from benchmarks.release_stage import ReleaseStage, drain_agents, pids_of, signal_all
from local_cluster.layout import STATE
from testing.postgres import paused
from testing.release import Release, ReleaseError
from voice_operator import lease
from voicesession import clock

API_SERVER_SECONDS = 6.0
DATABASE_SECONDS = 10.0
STALL_SECONDS = 8.0
DRAIN_SECONDS = 60

SystemFault = Callable[[ReleaseStage, random.Random], Awaitable[object]]


async def _drain(stage: ReleaseStage, dice: random.Random) -> None:
    """Drains a node of its agent pods, and takes it back."""
    release = stage.release
    names = [node["metadata"]["name"] for node in (await asyncio.to_thread(release.get, "nodes"))["items"]]
    node = dice.choice(names)
    try:
        await asyncio.to_thread(drain_agents, release, node, DRAIN_SECONDS)
    finally:
        await asyncio.to_thread(release.kubectl, "uncordon", node)


async def _kill_operator(stage: ReleaseStage, _dice: random.Random) -> None:
    """Kills the operator that leads."""
    holder = (await asyncio.to_thread(stage.release.get, "lease", lease.NAME))["spec"].get("holderIdentity") or ""
    pods = await _pods_of(stage.release, "operator")
    leader = next((pod for pod in pods if pod["metadata"]["name"] == holder.rpartition("_")[0]), pods[0])
    signal_all(pids_of(leader), signal.SIGKILL)


async def _steal_lease(stage: ReleaseStage, _dice: random.Random) -> None:
    """Has nobody hold the operators' Lease: whoever does is not there, and does not renew it."""
    spec = {"holderIdentity": "nobody_chaos", "renewTime": f"{clock.now():%Y-%m-%dT%H:%M:%S.%fZ}"}
    patch = json.dumps({"spec": spec})
    await asyncio.to_thread(stage.release.kubectl, "patch", "lease", lease.NAME, "--type=merge", "-p", patch)


async def _pause_api_server(_stage: ReleaseStage, _dice: random.Random) -> None:
    with paused(_find_api_server()):
        await asyncio.sleep(API_SERVER_SECONDS)


async def _freeze_postgres(stage: ReleaseStage, _dice: random.Random) -> None:
    await _pause(stage.release, "postgres", DATABASE_SECONDS, "postgres")


async def _restart_pgbouncer(stage: ReleaseStage, _dice: random.Random) -> None:
    await _replace_pods(stage.release, "pgbouncer")


async def _restart_livekit(stage: ReleaseStage, _dice: random.Random) -> None:
    await _replace_pods(stage.release, "livekit")


async def _replace_pods(release: Release, component: str) -> None:
    """Has other pods take their place: a container that is killed again and again is waited with for minutes."""
    for pod in await _pods_of(release, component):
        command = ("delete", "pod", pod["metadata"]["name"], "--grace-period=1", "--wait=false")
        await asyncio.to_thread(release.kubectl, *command)


async def _stall_models(stage: ReleaseStage, _dice: random.Random) -> None:
    await _pause(stage.release, "local-models", STALL_SECONDS)


async def _pause(release: Release, component: str, seconds: float, program: str = "") -> None:
    pids = [pid for pod in await _pods_of(release, component) for pid in pids_of(pod, program)]
    with paused(pids):
        await asyncio.sleep(seconds)


async def _pods_of(release: Release, component: str) -> list[Row]:
    selector = f"app.kubernetes.io/component={component}"
    found: list[Row] = (await asyncio.to_thread(release.get, "pods", "-l", selector))["items"]
    if not found:
        raise ReleaseError(f"the release has no pod of {component}")
    return found


def _find_api_server() -> list[int]:
    """Returns the process of the local cluster's API server."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if command[0].endswith(b"/kube-apiserver") and any(str(STATE).encode() in each for each in command):
            found.append(int(folder.name))
    if not found:
        raise ReleaseError("the API server's process is not seen here: the netns cluster is needed")
    return found


SYSTEM_FAULTS: Mapping[str, SystemFault] = {
    "drain": _drain,
    "operator killed": _kill_operator,
    "Lease stolen": _steal_lease,
    "API server paused": _pause_api_server,
    "Postgres frozen": _freeze_postgres,
    "PgBouncer restarted": _restart_pgbouncer,
    "LiveKit restarted": _restart_livekit,
    "models stalled": _stall_models,
}
