"""The operator as the program that it is, before an API server that fails as no healthy one does: it serves again.

Times are a tenth of the real ones: a watch that is silent for 7.5 s has all begin anew.
"""

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from local_cluster.ports import free_port
from testing.faulty_api_server import FaultyApiServer, faulty_api_server
from testing.operator_cluster import OperatorCluster
from testing.waiting import eventually, stays

SILENCE_SECONDS = 7.5
SERVES_AGAIN_SECONDS = 30.0
END_SECONDS = 13  # ten, and what a busy machine adds


@dataclass
class Program:
    """An operator in a process of its own, and the API server as it sees it."""

    process: subprocess.Popen[bytes]
    api_server: FaultyApiServer
    port: int

    async def ask(self, path: str) -> tuple[int, str]:
        """Returns the answer to a probe; 0 where there is none."""
        timeout = aiohttp.ClientTimeout(total=5)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.get(f"http://127.0.0.1:{self.port}{path}") as answer,
            ):
                return answer.status, (await answer.text()).strip()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    async def end(self) -> int:
        """Asks it to end; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, END_SECONDS)


@contextlib.asynccontextmanager
async def running_program(
    cluster: OperatorCluster, folder: Path, name: str = "operator-a", release: str = "shop"
) -> AsyncIterator[Program]:
    port = free_port()
    (folder / name).mkdir()
    async with faulty_api_server(cluster.kubeconfig, folder / name) as (api_server, kubeconfig):
        process = cluster.start_operator_process(
            kubeconfig,
            http_port=port,
            watch_silence_seconds=SILENCE_SECONDS,
            pod_name=name,
            release_name=release,
            resync_seconds=3600.0,  # so that nothing but a watch can bring news
            otel_exporter_otlp_endpoint="http://127.0.0.1:9",  # a collector that is away holds nobody
        )
        try:
            yield Program(process, api_server, port)
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()
            await asyncio.to_thread(process.wait)


@pytest.fixture
async def program(cluster: OperatorCluster, tmp_path: Path) -> AsyncIterator[Program]:
    """An operator that serves."""
    await cluster.create_pool(warm={"min": 2})
    await cluster.create_profile()
    async with running_program(cluster, tmp_path) as made:
        await cluster.wait_for_warm(2)
        yield made


async def sees_serve(cluster: OperatorCluster, program: Program, name: str) -> None:
    """Sees that a call is served within 30 s, by the process that there was, and that nobody would restart it."""
    await cluster.create_session(name, room=f"room-{name}")
    await cluster.wait_for_phase(name, "Active", seconds=SERVES_AGAIN_SECONDS)
    assert program.process.poll() is None
    assert await program.ask("/healthz") == (200, "ok")


async def test_a_401_of_two_seconds(cluster: OperatorCluster, program: Program) -> None:
    program.api_server.unauthorized = True
    program.api_server.freeze_open_watches()
    await stays(lambda: program.process.poll() is None, 2, "it has ended")
    program.api_server.unauthorized = False
    await sees_serve(cluster, program, "call")


@pytest.mark.parametrize("plural", ["voicesessions", "pods"])
async def test_an_error_on_a_watch(plural: str, cluster: OperatorCluster, program: Program) -> None:
    await program.api_server.tell_error(plural, 500)
    await sees_serve(cluster, program, "call")


async def test_a_watch_that_is_open_and_tells_nothing(cluster: OperatorCluster, program: Program) -> None:
    program.api_server.freeze_open_watches()
    await sees_serve(cluster, program, "call")


async def test_watches_that_are_frozen_for_longer_than_the_operator_waits(
    cluster: OperatorCluster, program: Program
) -> None:
    program.api_server.freeze_watches()
    await cluster.create_session("meanwhile", room="room-1")
    await stays(lambda: program.process.poll() is None, 2.4 * SILENCE_SECONDS, "it has ended")
    program.api_server.thaw()
    await cluster.wait_for_phase("meanwhile", "Active", seconds=SERVES_AGAIN_SECONDS)
    await sees_serve(cluster, program, "call")


async def test_watches_that_stay_frozen_while_the_api_server_answers_are_told_to_the_probe(program: Program) -> None:
    program.api_server.freeze_watches()

    async def not_live() -> bool:
        status, text = await program.ask("/healthz")
        return status == 503 and "was not heard for" in text

    await eventually(not_live, 3 * SILENCE_SECONDS)


async def test_an_api_server_that_hangs_is_no_reason_for_a_new_process(
    cluster: OperatorCluster, program: Program
) -> None:
    program.api_server.hang()

    async def lives() -> bool:
        return await program.ask("/healthz") == (200, "ok")

    await stays(lives, 2 * SILENCE_SECONDS, "a new process would hear no more")
    program.api_server.go_on()
    await sees_serve(cluster, program, "call")


ODD = {"metadata": {"annotations": {"voiceagents.dev/claimed-at": "the day before yesterday"}}}


async def test_an_odd_annotation_on_a_pod(cluster: OperatorCluster, program: Program, tmp_path: Path) -> None:
    odd = (await cluster.wait_for_warm(2))[0]["metadata"]["name"]
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{odd}"
    await cluster.api.request("PATCH", path, ODD, "application/merge-patch+json")
    await sees_serve(cluster, program, "call")
    assert await program.end() == 0
    async with running_program(cluster, tmp_path, "operator-b") as another:
        await sees_serve(cluster, another, "after-a-start")


# Its end


async def test_it_ends_at_once_when_asked(program: Program) -> None:
    assert await program.end() == 0


@pytest.mark.parametrize("hang", [FaultyApiServer.hang, FaultyApiServer.freeze_watches])
async def test_it_ends_within_its_time_though_the_api_server_hangs(
    hang: Callable[[FaultyApiServer], None], program: Program
) -> None:
    hang(program.api_server)
    await program.end()


# Two of them


async def leading(*programs: Program) -> Program | None:
    for program in programs:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{program.port}/metrics") as answer:
            if "voice_operator_leading 1.0" in await answer.text():
                return program
    return None


async def test_a_standby_takes_over_and_a_deposed_leader_that_wakes_up_writes_nothing(
    cluster: OperatorCluster, program: Program, tmp_path: Path
) -> None:
    async with running_program(cluster, tmp_path, "operator-b") as standby:

        async def ready() -> bool:
            return await standby.ask("/readyz") == (200, "ok")

        await eventually(ready, 30)
        assert await leading(standby, program) is program
        assert not standby.api_server.changes
        program.process.send_signal(signal.SIGSTOP)
        try:
            for number in range(3):  # more than there are warm pods: pools are written, too
                await cluster.create_session(f"call-{number}", room=f"room-{number}")
            for number in range(3):
                await cluster.wait_for_phase(f"call-{number}", "Active", seconds=SERVES_AGAIN_SECONDS)
            assert await leading(standby) is standby
            before = len(program.api_server.changes)
        finally:
            program.process.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(program.process.wait, 20) == 70
        assert program.api_server.changes[before:] == []
        assert await standby.ask("/healthz") == (200, "ok")


async def test_a_leader_that_ends_hands_over_at_once(
    cluster: OperatorCluster, program: Program, tmp_path: Path
) -> None:
    async with running_program(cluster, tmp_path, "operator-b") as standby:

        async def ready() -> bool:
            return await standby.ask("/readyz") == (200, "ok")

        await eventually(ready, 30)
        assert await program.end() == 0
        await eventually(lambda: leading(standby), 5, "far below the time that a Lease is kept")
        await sees_serve(cluster, standby, "call")


async def test_a_second_release_stands_aside_in_words_and_pods_are_made_as_with_one(
    cluster: OperatorCluster, program: Program, tmp_path: Path
) -> None:
    made = cluster.kubelet.count_seen()
    async with running_program(cluster, tmp_path, "operator-b", release="another") as second:

        async def stands_aside() -> bool:
            status, text = await second.ask("/readyz")
            return status == 503 and text.startswith("release shop serves this namespace")

        await eventually(stands_aside, 30)
        await stays(lambda: cluster.kubelet.count_seen() == made, 8, "pods are made")
        assert not second.api_server.writes
        assert await second.ask("/healthz") == (200, "ok")
        await sees_serve(cluster, program, "call")
