"""Two installations on one LiveKit, with calls at once: neither serves or closes a room of the other's.

Everything runs on this machine: a real API server and LiveKit; each installation has a namespace, an operator and a
token service as processes of their own, and keys of its own. LiveKit tells both token services of every room, and both
operators look at all rooms every 5 s. Pods are simulated; customers are LiveKit's own client, without a microphone.

Then two releases in one namespace: the second, whose pods would be of another template, stands aside. The pods that
both have made are compared with those of one release that serves as many calls alone.
"""

import argparse
import asyncio
import contextlib
import itertools
import re
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.operator_program import OperatorProgram
from benchmarks.processes import run_benchmark
from benchmarks.report import print_result
from benchmarks.token_service_program import TokenServiceProgram
from local_cluster.apiserver import running_apiserver
from local_cluster.ports import free_port
from testing.crds import apply_crds
from testing.guest import Guest
from testing.livekit import LiveKitServer, new_room, running_livekit
from testing.operator_cluster import OperatorCluster, operator_cluster
from testing.running_operator import build_operator_environment, write_signing_key
from testing.tickets import write_installation_key
from testing.waiting import eventually
from voicesession.models import Phase, VoiceSession
from voicesession.names import VOICE_SESSIONS
from voicesession.tickets import TicketKey

CALLS = 50
CALLS_OF_RELEASES = 10
ROOM_POLL_SECONDS = 5.0
# So many looks of each operator at all rooms, while all calls are in progress.
POLLS = 3
# As much as a customer's patience, for each of so many at once.
SERVED_SECONDS = 120.0
CONNECTING_AT_ONCE = 5
# A Lease that is not renewed runs out after 6 s: whoever would take it over has done so by then.
LEASE_SECONDS = 10.0
FOREIGN_STARTS = r'^voice_token_service_admissions_total{outcome="foreign"} (\S+)$'
FOREIGN_ROOMS = r'^voice_operator_rooms_polled_total{outcome="foreign"} (\S+)$'
PODS_CREATED = r"^voice_operator_pool_pods_created_total{.*} (\S+)$"


@dataclass
class Installation:
    """One of several on a LiveKit, and its customers by the names of their rooms."""

    cluster: OperatorCluster
    operator: OperatorProgram
    front_door: TokenServiceProgram
    customers: dict[str, Guest] = field(default_factory=dict)

    async def begin_call(self, http: aiohttp.ClientSession) -> None:
        """Has a customer come in as any does."""
        async with http.post(f"{self.front_door.url}/api/token", json={}) as answer:
            connection = await answer.json()
        customer = Guest()
        await customer.room.connect(connection["server_url"], connection["participant_token"])
        self.customers[customer.room.name] = customer

    async def read_sessions(self) -> dict[str, VoiceSession]:
        """Returns its VoiceSessions by the names of their rooms."""
        listed, _ = await self.cluster.api.list_objects(VOICE_SESSIONS)
        sessions = [VoiceSession.model_validate(each) for each in listed]
        return {session.spec.room or "": session for session in sessions}

    async def count_served(self) -> int:
        """Returns how many of its customers have an agent, of its own."""
        sessions = await self.read_sessions()
        return sum(1 for room in self.customers if room in sessions and sessions[room].status.phase is Phase.ACTIVE)


@dataclass(frozen=True)
class Apart:
    """What came of calls of several installations."""

    calls: int
    served: int
    served_by_the_other: int
    closed_by_the_other: int
    seen_by_the_other: int  # room starts that the other's token service was told of, and took for foreign

    @property
    def held(self) -> bool:
        """Whether it is as promised: each room was seen by the other, and left alone."""
        left_alone = not (self.served_by_the_other or self.closed_by_the_other)
        return self.calls == self.served <= self.seen_by_the_other and left_alone


@dataclass(frozen=True)
class Releases:
    """Pods that were made for as many calls: by one release, and by two in one namespace."""

    pods_made_alone: int
    pods_made: int
    refused_in_words: bool  # the second release says which one serves the namespace

    @property
    def held(self) -> bool:
        """Whether it is as promised."""
        return self.pods_made == self.pods_made_alone > 0 and self.refused_in_words


# Two installations


@contextlib.asynccontextmanager
async def running_installations(
    kubeconfig: Path, folder: Path, http: aiohttp.ClientSession, warm: int
) -> AsyncIterator[list[Installation]]:
    """Starts a LiveKit and two installations on it, with `warm` pods that wait in each; ends them afterwards."""
    doors = [TokenServiceProgram(), TokenServiceProgram()]
    with running_livekit(*(door.webhook_url for door in doors)) as livekit:
        async with contextlib.AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(_running_installation(kubeconfig, livekit, door, folder, http, warm))
                for door in doors
            ]


@contextlib.asynccontextmanager
async def _running_installation(
    kubeconfig: Path,
    livekit: LiveKitServer,
    door: TokenServiceProgram,
    folder: Path,
    http: aiohttp.ClientSession,
    warm: int,
) -> AsyncIterator[Installation]:
    own = Path(tempfile.mkdtemp(dir=folder))
    # Beside the key that all tests have.
    key = write_installation_key(Path(tempfile.mkdtemp(dir=own)), TicketKey(secrets.token_hex(32).encode()))
    async with (
        operator_cluster(kubeconfig, livekit, own, **_build_settings(), installation_key_file=key) as cluster,
        _running_operator(cluster, own, http) as operator,
    ):
        await _fill_pool(cluster, warm)
        environment = door.build_environment(cluster.namespace, kubeconfig, livekit, key)
        async with door.running(own / "token_service.log", environment, http):
            yield Installation(cluster, operator, door)


def _build_settings() -> dict[str, Any]:
    return {"room_poll_seconds": ROOM_POLL_SECONDS, "http_port": free_port()}


@contextlib.asynccontextmanager
async def _running_operator(
    cluster: OperatorCluster, folder: Path, http: aiohttp.ClientSession
) -> AsyncIterator[OperatorProgram]:
    environment = build_operator_environment(cluster.settings, cluster.kubeconfig)
    with OperatorProgram(folder / "operator.log", environment, "admin") as operator:
        await operator.until_ready(http)
        yield operator


async def _fill_pool(cluster: OperatorCluster, warm: int) -> None:
    # Looking at so many pods takes a while.
    cluster.kubelet.pace = 0.5
    await cluster.create_pool(warm={"min": warm, "maxStarting": warm})
    await cluster.create_profile()
    await cluster.wait_for_warm(warm, SERVED_SECONDS)


async def run_calls(installations: list[Installation], count: int, http: aiohttp.ClientSession) -> Apart:
    """Has `count` customers call each installation at once, and looks on; they hang up afterwards."""
    try:
        await _begin_calls(installations, count, http)
        for one in installations:
            await eventually(partial(_is_served, one, count), SERVED_SECONDS, "not all calls are served")
        print(f"  {count} calls in each are in progress; each operator looks {POLLS} times at all rooms", flush=True)
        before = [await _read_metric(http, one.operator.metrics_url, FOREIGN_ROOMS) for one in installations]
        for one, seen in zip(installations, before, strict=True):
            await eventually(partial(_has_looked, http, one, seen + POLLS * count), SERVED_SECONDS)
        return await _judge(installations, http)
    finally:
        for customer in (each for one in installations for each in one.customers.values()):
            await customer.room.disconnect()


async def _begin_calls(installations: list[Installation], count: int, http: aiohttp.ClientSession) -> None:
    gate = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def begin(one: Installation) -> None:
        async with gate:
            await one.begin_call(http)

    await asyncio.gather(*(begin(one) for _ in range(count) for one in installations))


async def _is_served(one: Installation, count: int) -> bool:
    return await one.count_served() >= count


async def _has_looked(http: aiohttp.ClientSession, one: Installation, wanted: float) -> bool:
    return await _read_metric(http, one.operator.metrics_url, FOREIGN_ROOMS) >= wanted


async def _judge(installations: list[Installation], http: aiohttp.ClientSession) -> Apart:
    served_by_the_other = closed = seen = 0
    for one, other in itertools.permutations(installations, 2):
        served_by_the_other += len(one.customers.keys() & (await other.read_sessions()).keys())
        # No call has ended, and nobody has hung up: whoever is out was put out.
        closed += sum(customer.gone.is_set() for customer in one.customers.values())
        seen += round(await _read_metric(http, other.front_door.metrics_url, FOREIGN_STARTS))
    calls = sum(len(one.customers) for one in installations)
    served = sum([await one.count_served() for one in installations])
    return Apart(calls, served, served_by_the_other, closed, seen)


async def _read_metric(http: aiohttp.ClientSession, url: str, pattern: str) -> float:
    """Returns the sum of all values that the pattern finds."""
    async with http.get(url) as answer:
        return sum(map(float, re.findall(pattern, await answer.text(), re.MULTILINE)))


# Two releases in one namespace


async def run_releases(
    kubeconfig: Path, livekit: LiveKitServer, folder: Path, http: aiohttp.ClientSession, count: int
) -> Releases:
    """Serves `count` calls with one release, and in another namespace as many with two."""
    (alone, _), (both, refused) = await asyncio.gather(
        *(_count_pods(kubeconfig, livekit, folder, http, count, second=second) for second in (False, True))
    )
    return Releases(alone, both, refused)


async def _count_pods(
    kubeconfig: Path, livekit: LiveKitServer, folder: Path, http: aiohttp.ClientSession, count: int, *, second: bool
) -> tuple[int, bool]:
    """Returns how many pods were made, and whether the second release said who serves the namespace."""
    own = Path(tempfile.mkdtemp(dir=folder))
    async with (
        operator_cluster(kubeconfig, livekit, own, **_build_settings(), release_name="first") as cluster,
        _running_operator(cluster, own, http) as operator,
        contextlib.AsyncExitStack() as stack,
    ):
        operators = [operator]
        if second:
            operators.append(stack.enter_context(_second_release(cluster, own)))
        await _fill_pool(cluster, count)
        for _ in range(count):
            session = await cluster.create_session(room=new_room())
            await cluster.wait_for_phase(session.metadata.name, Phase.ACTIVE, seconds=SERVED_SECONDS)
        await cluster.wait_for_warm(count, SERVED_SECONDS)
        await asyncio.sleep(LEASE_SECONDS)
        made = sum([await _read_metric(http, each.metrics_url, PODS_CREATED) for each in operators])
        return round(made), second and await _names_the_first(operators[-1], http)


def _second_release(cluster: OperatorCluster, folder: Path) -> OperatorProgram:
    """Returns another release's operator, with keys of its own, by which its pods would be other ones."""
    signing = folder / "second.pem"
    write_signing_key(signing)
    own = {"release_name": "second", "pod_name": "second", "http_port": free_port(), "signing_key_file": signing}
    settings = cluster.settings.model_copy(update=own)
    environment = build_operator_environment(settings, cluster.kubeconfig)
    return OperatorProgram(folder / "second.log", environment, "admin")


async def _names_the_first(operator: OperatorProgram, http: aiohttp.ClientSession) -> bool:
    async with http.get(f"{operator.url}/readyz") as answer:
        return answer.status == 503 and "first" in await answer.text()


# All of it


def report(apart: Apart, releases: Releases) -> int:
    """Prints the last line; returns 1 where it is not as promised."""
    print_result(
        {
            "calls": apart.calls,
            "served": apart.served,
            "served_by_the_other": apart.served_by_the_other,
            "closed_by_the_other": apart.closed_by_the_other,
            "seen_by_the_other": apart.seen_by_the_other,
            "pods_made_by_one_release": releases.pods_made_alone,
            "pods_made": releases.pods_made,
            "second_release_refuses": releases.refused_in_words,
        }
    )
    return 0 if apart.held and releases.held else 1


async def measure(count: int) -> int:
    """Starts everything, and runs both."""
    with tempfile.TemporaryDirectory(prefix="bench-installations-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        kubeconfig = stack.enter_context(running_apiserver())
        apply_crds(kubeconfig)
        async with aiohttp.ClientSession() as http:
            async with running_installations(kubeconfig, folder, http, warm=count) as installations:
                apart = await run_calls(installations, count, http)
            print(f"  two releases in one namespace, {CALLS_OF_RELEASES} calls", flush=True)
            livekit = stack.enter_context(running_livekit())
            return report(apart, await run_releases(kubeconfig, livekit, folder, http, CALLS_OF_RELEASES))


def main() -> int:
    """Runs the benchmark; returns 1 where it is not as promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.installations", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help=f"calls of each at once (default {CALLS})")
    print("Starting the control planes (their first build takes minutes)", flush=True)
    return run_benchmark(measure(parser.parse_args().calls))


if __name__ == "__main__":
    sys.exit(main())
