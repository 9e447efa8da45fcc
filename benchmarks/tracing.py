"""What traces cost: the same calls with and without them, in turn, in one run.

Agents: pairs of pods, one of which is traced, hold the same conversation at the same time: CPU per minute of talk, and
from assignment to joined; which of a pair is asked first alternates. Operator: VoiceSessions of simulated pods, an
operator that traces after one that does not and so on: CPU for a session's whole life. The collector is a process of
its own and takes whatever comes.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.control_plane import ControlPlane, running_control_plane, scratch_folder
from benchmarks.processes import cpu_seconds, run_benchmark, running
from benchmarks.report import Progress, percentile, print_result, print_table
from benchmarks.session_load import run_load
from local_cluster.ports import LOOPBACK, free_port, listens
from testing.agent_pod import AgentPod, Follower, build_assignment, build_provider, joined, running_pod
from testing.customer import joined_room
from testing.fake_openai import FakeOpenAI, running_fake_openai
from testing.livekit import LiveKitServer, new_room, running_livekit
from testing.local_speech import speech_pcm
from testing.waiting import eventually
from voicesession.assignment import Joined

VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
COLLECTOR = "benchmarks.span_counter"
ANSWER_SECONDS = 60.0
HEARD = "I would like to book a table for two."


@dataclass
class Costs:
    """What one half has cost, one entry a pair. `cpu`: seconds a minute of talk, or milliseconds a session."""

    cpu: list[float] = field(default_factory=list)
    join_millis: list[float] = field(default_factory=list)


@dataclass
class Pairs:
    """Both halves, by whether they were traced."""

    plain: Costs = field(default_factory=Costs)
    traced: Costs = field(default_factory=Costs)

    def of(self, traced: bool) -> Costs:
        """Returns one of them."""
        return self.traced if traced else self.plain

    @property
    def more_cpu(self) -> float:
        """Returns by how much CPU traces cost, as a share of what it costs without, over all pairs."""
        return sum(self.traced.cpu) / sum(self.plain.cpu) - 1


async def talk_in_pairs(livekit: LiveKitServer, collector: str, pairs: int, turns: int) -> Pairs:
    """Has `pairs` of calls of so many turns each."""
    found, progress = Pairs(), Progress("pairs of calls", pairs)
    for number in range(pairs):
        async with started_pair(collector) as (plain, traced):
            in_turn = [(False, plain), (True, traced)] if number % 2 else [(True, traced), (False, plain)]
            calls = [await begin_call(livekit, waiting.pod) for _, waiting in in_turn]
            costs = await asyncio.gather(
                *(talk(livekit, waiting, call, turns) for (_, waiting), call in zip(in_turn, calls, strict=True))
            )
        for (is_traced, _), (cpu, millis) in zip(in_turn, costs, strict=True):
            found.of(is_traced).cpu.append(cpu)
            found.of(is_traced).join_millis.append(millis)
        progress.at(number + 1)
    return found


@dataclass(frozen=True)
class Waiting:
    """A pod without a call, and models of its own."""

    pod: AgentPod
    models: FakeOpenAI


@contextlib.asynccontextmanager
async def started_pair(collector: str) -> AsyncIterator[tuple[Waiting, Waiting]]:
    """Yields two pods that wait, the second of which is traced."""
    async with (
        running_fake_openai() as first,
        running_fake_openai() as second,
        running_pod([build_provider(first.base_url)], shows_log=False) as plain,
        running_pod(
            [build_provider(second.base_url)], shows_log=False, OTEL_EXPORTER_OTLP_ENDPOINT=collector
        ) as traced,
    ):
        yield Waiting(plain, first), Waiting(traced, second)


async def begin_call(livekit: LiveKitServer, pod: AgentPod) -> tuple[str, Follower]:
    """Gives a pod a call and waits until its agent has joined."""
    room = new_room()
    assignment = build_assignment(livekit, room, traceparent=f"00-{1:032x}-{1:016x}-01")
    follower = await pod.assign(assignment)
    await follower.wait_for(Joined, ANSWER_SECONDS)
    return room, follower


async def talk(livekit: LiveKitServer, waiting: Waiting, call: tuple[str, Follower], turns: int) -> tuple[float, float]:
    """Talks; returns the pod's CPU seconds for a minute of it, and the milliseconds that its agent took to join."""
    (room, follower), pod = call, waiting.pod
    speech = await asyncio.to_thread(speech_pcm, HEARD)
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.answer(customer.connect_began_at, ANSWER_SECONDS)
        began, before = time.monotonic(), cpu_seconds(pod.process.pid)
        for _ in range(turns):
            waiting.models.transcripts.append(HEARD)
            await customer.ask(speech, ANSWER_SECONDS)
        cpu = cpu_seconds(pod.process.pid) - before
        minutes = (time.monotonic() - began) / 60
    await pod.exit_code(ANSWER_SECONDS)  # what it has to send is sent
    return cpu / minutes, joined(follower).joined_millis


async def operate_in_pairs(plane: ControlPlane, collector: str, pairs: int, rate: float, count: int) -> Pairs:
    """Has an operator that does not trace serve VoiceSessions, then one that does, and so on; counts their CPU."""
    found, progress = Pairs(), Progress("pairs of operators", pairs)
    for number in range(pairs):
        for is_traced in (False, True) if number % 2 else (True, False):
            plane.operator.stop()
            plane.operator.begin_anew(environment={VARIABLE: collector if is_traced else ""})
            await plane.operator.until_ready(plane.http)
            await plane.fill_pool(count + 1)
            before = cpu_seconds(plane.operator.process.pid)
            load = await run_load(plane, rate, count, count + 1)
            if load.lost or load.doubled:
                raise RuntimeError(f"{load.lost} VoiceSessions were lost, {load.doubled} doubled")
            found.of(is_traced).cpu.append(1000 * (cpu_seconds(plane.operator.process.pid) - before) / count)
        progress.at(number + 1)
    return found


@contextlib.asynccontextmanager
async def running_counter(folder: Path) -> AsyncIterator[str]:
    """Yields the address of a collector in a process of its own."""
    port = free_port()
    with running([sys.executable, "-m", COLLECTOR, str(port)], folder / "collector.log"):
        await eventually(lambda: listens(port), 30, "the collector does not listen")
        yield f"http://{LOOPBACK}:{port}"


def report(agents: Pairs, operators: Pairs) -> int:
    """Prints the tables and the last line."""
    for title, pairs, unit in (
        ("An agent's CPU for a minute of talk", agents, "s"),
        ("The operator's CPU for a session's life", operators, "ms"),
    ):
        print(f"\n{title} [{unit}]: {pairs.more_cpu:+.1%} by traces, {len(pairs.plain.cpu)} pairs")
        for name, costs in (("plain", pairs.plain), ("traced", pairs.traced)):
            print(f"  {name:<10}" + "".join(f"{value:9.2f}" for value in costs.cpu))
    rows = {"plain": agents.plain.join_millis, "traced": agents.traced.join_millis}
    print_table("Assignment → the agent has joined", rows)
    print_result(
        {
            "benchmark": "tracing",
            "pairs": len(agents.plain.cpu),
            "agent_more_cpu": agents.more_cpu,
            "operator_more_cpu": operators.more_cpu,
            "join_ms_p50_plain": percentile(agents.plain.join_millis, 0.5),
            "join_ms_p50_traced": percentile(agents.traced.join_millis, 0.5),
        }
    )
    return 0


async def measure(pairs: int, turns: int, operators: int, rate: float, seconds: float) -> int:
    """Runs both halves."""
    with scratch_folder() as folder, running_livekit() as livekit:
        async with running_counter(folder) as collector:
            agents = await talk_in_pairs(livekit, collector, pairs, turns)
            async with running_control_plane(folder) as plane:
                found = await operate_in_pairs(plane, collector, operators, rate, round(rate * seconds))
    return report(agents, found)


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--pairs", type=int, default=10, help="of calls (default 10)")
    parser.add_argument("--turns", type=int, default=8, help="of each call (default 8)")
    parser.add_argument("--operators", type=int, default=4, help="pairs of operators (default 4)")
    parser.add_argument("--rate", type=float, default=5, help="VoiceSessions a second (default 5)")
    parser.add_argument("--seconds", type=float, default=40, help="for how long each operator (default 40)")
    arguments = parser.parse_args()
    return run_benchmark(
        measure(arguments.pairs, arguments.turns, arguments.operators, arguments.rate, arguments.seconds)
    )


if __name__ == "__main__":
    sys.exit(main())
