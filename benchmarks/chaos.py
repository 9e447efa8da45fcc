"""Conversations while one thing after the other breaks: every few seconds a random fault, from a table, by a seed.

Customers hold calls one after the other, several at a time: each numbers what it says, says it again until it is
answered, and hangs up after a while. What breaks: the pods that have calls, their nodes, the operators and their
Lease, the API server, Postgres and what is before it, LiveKit, the models. Each fault is told to the API server by an
Event. What is left afterwards is judged by another program, chaos_check.py, which knows nothing of this one.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from livekit import rtc
from livekit.rtc.participant import PublishTrackError

from benchmarks.call_stage import POD_FAULTS, Call, CallStage
from benchmarks.chaos_check import FAULT_REASON, REMARK
from benchmarks.chaos_faults import SYSTEM_FAULTS
from benchmarks.release import run_against
from benchmarks.release_stage import ReleaseStage, require_nodes
from testing.customer import CustomerError
from testing.front_door import FrontDoorError
from testing.release import Release, ReleaseError
from voicesession import clock
from voicesession.names import AGENT_IDENTITY

SECONDS = 900.0
EVERY_SECONDS = 15.0
LANES = 5
CALL_SECONDS = (20.0, 90.0)
# Said again where nobody has answered: who it was said to may be gone.
ANSWER_SECONDS = 12.0
CONNECT_SECONDS = 30.0
CUT_OFF_SECONDS = 12.0
AGAIN_SECONDS = 1.0

Fault = Callable[[], Awaitable[object]]


@dataclass
class Chaos:
    """What is going on, and how far it is."""

    stage: CallStage
    seed: int
    system_faults: Mapping[str, Fault]
    tell: Callable[[int, str], Awaitable[None]]
    calls: list[Call] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    begun: int = 0
    remarks: int = 0
    lost: list[str] = field(default_factory=list)  # calls whose customer was put out, or got no answer any more

    async def run(self, seconds: float, every: float, lanes: int) -> None:
        """Holds conversations for so long while things break; returns when all customers have hung up."""
        ends_at = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for lane in range(lanes):
                group.create_task(self._hold_calls(ends_at, random.Random(f"{self.seed} {lane}")))
            group.create_task(self._break_things(ends_at, every))

    async def _break_things(self, ends_at: float, every: float) -> None:
        # Of its own, so that the same seed has the same things break in the same order.
        dice = random.Random(self.seed)
        names = [*POD_FAULTS, *self.system_faults]
        due = time.monotonic() + every
        while due < ends_at:
            await asyncio.sleep(due - time.monotonic())
            due = max(due + every, time.monotonic())
            await self.break_one(dice.choice(names))

    async def break_one(self, name: str) -> None:
        """Has one fault happen, and tells of it when it has passed, as far as it passes."""
        print(f"  {clock.now():%H:%M:%S} {name}; {self.begun} calls, {self.remarks} remarks", flush=True)
        try:
            await (self.system_faults[name]() if name in self.system_faults else self._hurt(name))
            self.faults.append(name)
            await self.tell(len(self.faults), name)
        except (ReleaseError, OSError) as error:
            # The call is over just now, or the fault before has not passed: chaos may miss.
            print(f"  missed: {error}", flush=True)

    async def _hurt(self, name: str) -> None:
        """Has the pod of a call suffer: of the oldest that can."""
        for call in list(self.calls):
            try:
                await self.stage.hurt(call, name)
            except (ReleaseError, OSError) as error:
                print(f"  not {call.room}: {error}", flush=True)
                continue
            break
        else:
            raise ReleaseError("no call has a pod that could suffer it")
        if name == "node":
            await asyncio.sleep(CUT_OFF_SECONDS)
            await self.stage.mend()

    async def _hold_calls(self, ends_at: float, dice: random.Random) -> None:
        while time.monotonic() < ends_at:
            seconds = min(dice.uniform(*CALL_SECONDS), ends_at - time.monotonic())
            try:
                await self._hold_call(time.monotonic() + seconds)
            except (CustomerError, FrontDoorError, rtc.ConnectError, PublishTrackError, OSError, RuntimeError) as error:
                self.lost.append(f"{clock.now():%H:%M:%S} {error}")
                await asyncio.sleep(AGAIN_SECONDS)

    async def _hold_call(self, until: float) -> None:
        async with self._call() as call:
            await call.customer.until(lambda: call.customer.agent_state == "listening", CONNECT_SECONDS, "an agent")
            number = 1
            while time.monotonic() < until:
                await self._say_until_answered(call, number)
                self.remarks += 1
                number += 1

    async def _say_until_answered(self, call: Call, number: int) -> None:
        customer, deadline = call.customer, time.monotonic() + 5 * ANSWER_SECONDS
        while True:
            await call.say(f"Remark {number} about the weather.")
            try:
                await customer.until(partial(_is_answered, call, number), ANSWER_SECONDS, f"an answer to {number}")
            except CustomerError:
                if customer.heard.disconnected or time.monotonic() > deadline:
                    raise
                continue
            return

    @contextlib.asynccontextmanager
    async def _call(self) -> AsyncIterator[Call]:
        async with self.stage.call() as call:
            self.begun += 1
            self.calls.append(call)
            try:
                yield call
            finally:
                self.calls.remove(call)


def _is_answered(call: Call, number: int) -> bool:
    return any(
        said.identity == AGENT_IDENTITY and str(number) in REMARK.findall(said.text)
        for said in call.customer.heard.transcripts
    )


async def tell_of_fault(release: Release, number: int, name: str) -> None:
    """Writes an Event of a fault."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "name": release.namespace}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"chaos-{number}-", "namespace": release.namespace},
        "involvedObject": {**namespace, "namespace": release.namespace},
        "reason": FAULT_REASON,
        "message": name,
        "type": "Normal",
        "source": {"component": "chaos"},
    }
    await asyncio.to_thread(release.kubectl, "create", "-f", "-", stdin=json.dumps(event))


async def run_chaos(release: Release, seconds: float, every: float, lanes: int, seed: int) -> None:
    """Runs it against a release."""
    stage, dice = ReleaseStage(release, spoken=False), random.Random(seed)
    system_faults = {name: partial(fault, stage, dice) for name, fault in SYSTEM_FAULTS.items()}
    chaos = Chaos(stage, seed, system_faults, partial(tell_of_fault, release))
    try:
        await chaos.run(seconds, every, lanes)
    finally:
        await stage.mend()
    print(f"  {len(chaos.faults)} faults, {chaos.begun} calls begun, {chaos.remarks} remarks answered, seed {seed}")
    for lost in chaos.lost:
        print(f"  a customer gave up: {lost}")


def measure(release: Release, seconds: float, every: float, lanes: int, seed: int) -> int:
    """Runs chaos, then the program that judges it."""
    require_nodes(release)
    # By whole seconds, as the API server tells the time.
    since = clock.now().replace(microsecond=0)
    asyncio.run(run_chaos(release, seconds, every, lanes, seed))
    command = [sys.executable, "-m", "benchmarks.chaos_check", f"--since={since.isoformat()}"]
    return subprocess.run([*command, f"--release={release.name}"], check=False).returncode


def main() -> int:
    """Runs the benchmark; returns 1 where something is lost, doubled, leaked or open."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"how long (default {SECONDS:g})")
    parser.add_argument("--every", type=float, default=EVERY_SECONDS, help=f"a fault (default {EVERY_SECONDS:g} s)")
    parser.add_argument("--calls", type=int, default=LANES, help=f"at a time (default {LANES})")
    parser.add_argument("--seed", type=int, default=1, help="of the faults (default 1)")
    parser.add_argument("--release", default="voice", help="release and namespace (default voice, as the demo's)")
    arguments = parser.parse_args()
    os.environ.setdefault("NODES", "2")

    def run(release: Release) -> int:
        return measure(release, arguments.seconds, arguments.every, arguments.calls, arguments.seed)

    return run_against(arguments.release, run)


if __name__ == "__main__":
    sys.exit(main())
