"""LiveKit is killed and started again under calls that talk: every call whose both sides come back goes on.

Everything runs on this machine: a real API server, LiveKit and Postgres; the operator and the token service are
processes of their own, and so is each agent; customers are LiveKit's own client, with a microphone. Models answer at
once, by repeating what they were asked. LiveKit is down for another time each time. Then each call is looked at: have
both come back, as LiveKit tells; and does the agent answer the same customer again, heard and in the same pod?

Tickets are too old for another start a few seconds after their call has begun, and may start one only: whoever takes
the room, which has another sid then, for another start would close it.
"""

import argparse
import asyncio
import contextlib
import itertools
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from livekit import rtc

from benchmarks.operator_program import OperatorProgram
from benchmarks.processes import run_benchmark
from benchmarks.report import print_result
from benchmarks.token_service_program import TokenServiceProgram
from local_cluster.apiserver import running_apiserver
from local_cluster.ports import free_port
from testing.agent_cluster import AgentCluster, agent_cluster
from testing.conversations import ConversationsDatabase
from testing.crds import apply_crds
from testing.customer import Customer, CustomerError
from testing.fake_openai import running_fake_openai
from testing.livekit import LiveKitProcess, restartable_livekit
from testing.postgres import running_postgres
from testing.running_operator import build_operator_environment
from testing.waiting import eventually
from voicesession.admission import is_finished
from voicesession.models import Phase, VoiceSession
from voicesession.names import AGENT_IDENTITY, VOICE_SESSIONS

RESTARTS = 12
CALLS = 2
# In turn; LiveKit needs a second more to start.
DOWN_SECONDS = (0.2, 1.0, 3.0)
TICKET_SECONDS = 10
# Both sides' libraries try for up to 26 s.
BACK_SECONDS = 40.0
# The room poll looks every 5 s.
MOVED_SECONDS = 20.0


@dataclass
class TalkingCall:
    """A customer in a call, and the VoiceSession of it."""

    customer: Customer
    session: VoiceSession

    @property
    def room(self) -> str:
        """The room's name."""
        return self.session.spec.room or ""


@dataclass
class Findings:
    """What came of all calls under all restarts: each call counts once for each."""

    restarts: int = 0
    calls: int = 0
    both_back: int = 0
    went_on: int = 0
    ended_wrongly: int = 0
    moved: int = 0  # the VoiceSession has the room's new sid
    doubled: int = 0  # VoiceSessions that were made for a room beside its call's
    troubles: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether it is as promised."""
        return self.both_back == self.went_on == self.moved > 0 and not (self.ended_wrongly or self.doubled)


@dataclass
class Stage:
    """What runs."""

    cluster: AgentCluster
    livekit: LiveKitProcess
    front_door: str
    http: aiohttp.ClientSession

    @contextlib.asynccontextmanager
    async def calls(self, count: int) -> AsyncIterator[list[TalkingCall]]:
        """Yields calls in which both have spoken. The list may be changed; all in it hang up at the end."""
        calls: list[TalkingCall] = []
        try:
            await self.fill_up(calls, count)
            yield calls
        finally:
            for call in calls:
                await call.customer.close()

    async def fill_up(self, calls: list[TalkingCall], count: int) -> None:
        """Begins calls until there are `count`."""
        while len(calls) < count:
            await self.cluster.wait_for_warm(1, BACK_SECONDS)
            calls.append(await self._begin())

    async def _begin(self) -> TalkingCall:
        async with self.http.post(f"{self.front_door}/api/token", json={}) as answer:
            connection = await answer.json()
        customer = Customer(rtc.Room())
        await customer.connect(connection["server_url"], connection["participant_token"])
        await customer.until_answered("good morning")
        (session,) = await self.sessions_of(customer.room.name)
        return TalkingCall(customer, session)

    async def sessions_of(self, room: str) -> list[VoiceSession]:
        """Returns all VoiceSessions for a room, finished ones too."""
        listed, _ = await self.cluster.api.list_objects(VOICE_SESSIONS)
        sessions = [VoiceSession.model_validate(each) for each in listed]
        return [session for session in sessions if session.spec.room == room]

    async def restart(self, calls: list[TalkingCall], seconds_down: float, findings: Findings) -> None:
        """Restarts LiveKit once, and looks at each call; those that are over leave the list."""
        await self.livekit.restart(seconds_down)
        findings.restarts += 1
        findings.calls += len(calls)
        over = await asyncio.gather(*(self._look_at(call, findings) for call in calls))
        for call, is_over in list(zip(calls, over, strict=True)):
            if is_over:
                calls.remove(call)
                await call.customer.close()

    async def _look_at(self, call: TalkingCall, findings: Findings) -> bool:
        """Finds out what became of a call; returns whether it is over."""
        wanted = {AGENT_IDENTITY, call.customer.room.local_participant.identity}
        if not await self._are_in_the_room(call.room, wanted):
            findings.troubles.append(f"{call.session.metadata.name}: not both came back")
            return True
        findings.both_back += 1
        try:
            await call.customer.until_answered("still there")
            answered = True
        except CustomerError as error:
            answered = False
            findings.troubles.append(f"{call.session.metadata.name}: {error}")
        sessions = await self.sessions_of(call.room)
        findings.doubled += len(sessions) - 1
        now = next((each for each in sessions if each.metadata.uid == call.session.metadata.uid), None)
        if now is None or is_finished(now):
            findings.ended_wrongly += 1
            findings.troubles.append(f"{call.session.metadata.name}: {now.status.message if now else 'gone'}")
            return True
        same = (now.status.phase, now.status.pod_name) == (Phase.ACTIVE, call.session.status.pod_name)
        findings.went_on += answered and same
        moved = await self._has_moved(call)
        findings.moved += moved
        return False

    async def _are_in_the_room(self, room: str, wanted: set[str]) -> bool:
        async def look() -> bool:
            return wanted <= await self.livekit.server.present(room)

        with contextlib.suppress(TimeoutError):
            return await eventually(look, BACK_SECONDS)
        return False

    async def _has_moved(self, call: TalkingCall) -> bool:
        """Tells whether the VoiceSession tells the sid that LiveKit has given the room this time."""

        async def look() -> bool:
            session = await self.cluster.session(call.session.metadata.name)
            return session is not None and session.status.room_sid == await self.livekit.server.sid_of(call.room)

        with contextlib.suppress(TimeoutError):
            return await eventually(look, MOVED_SECONDS)
        return False


@contextlib.asynccontextmanager
async def running_stage(
    kubeconfig: Path, database: ConversationsDatabase, folder: Path, warm: int
) -> AsyncIterator[Stage]:
    """Starts everything, with `warm` pods that wait; ends it afterwards. `folder`: for keys and logs."""
    door = TokenServiceProgram()
    terms = {"max_ticket_age_seconds": TICKET_SECONDS, "max_starts_per_call": 1}
    own = {"room_poll_seconds": 5, "http_port": free_port(), **terms}
    async with contextlib.AsyncExitStack() as stack:
        livekit = stack.enter_context(restartable_livekit(door.webhook_url))
        models = await stack.enter_async_context(running_fake_openai())
        http = await stack.enter_async_context(aiohttp.ClientSession())
        cluster = await stack.enter_async_context(
            agent_cluster(kubeconfig, livekit.server, database, models, folder, **own)
        )
        environment = build_operator_environment(cluster.settings, kubeconfig)
        operator = stack.enter_context(OperatorProgram(folder / "operator.log", environment, "admin"))
        await operator.until_ready(http)
        await cluster.create_warm_pool(warm)
        key = cluster.settings.installation_key_file
        environment = {
            **door.build_environment(cluster.namespace, kubeconfig, livekit.server, key),
            **{name.upper(): str(value) for name, value in terms.items()},
            "TOKEN_LIFETIME_SECONDS": str(TICKET_SECONDS),
        }
        await stack.enter_async_context(door.running(folder / "token_service.log", environment, http))
        yield Stage(cluster, livekit, door.url, http)


async def run_restarts(stage: Stage, count: int, restarts: int, down: Sequence[float] = DOWN_SECONDS) -> Findings:
    """Has `count` calls talk, and restarts LiveKit so often."""
    findings = Findings()
    async with stage.calls(count) as calls:
        await asyncio.sleep(TICKET_SECONDS)  # no ticket starts anything any more
        for number, seconds in zip(range(restarts), itertools.cycle(down), strict=False):
            await stage.restart(calls, seconds, findings)
            print(f"  {number + 1}/{restarts} restarts, {seconds:g} s down: {findings.went_on} of ", end="")
            print(f"{findings.both_back} calls go on", flush=True)
            await stage.fill_up(calls, count)
    return findings


def report(findings: Findings) -> int:
    """Prints what went wrong, and the last line; returns 1 where it is not as promised."""
    for trouble in findings.troubles[:10]:
        print(f"  {trouble}")
    print_result(
        {
            "restarts": findings.restarts,
            "calls": findings.calls,
            "both_back": findings.both_back,
            "went_on": findings.went_on,
            "ended_wrongly": findings.ended_wrongly,
            "new_sid_taken_over": findings.moved,
            "doubled": findings.doubled,
        }
    )
    return 0 if findings.held else 1


async def measure(count: int, restarts: int) -> int:
    """Starts everything, and restarts LiveKit so often."""
    with tempfile.TemporaryDirectory(prefix="bench-livekit-restart-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        kubeconfig = stack.enter_context(running_apiserver())
        apply_crds(kubeconfig)
        postgres = stack.enter_context(running_postgres())
        database = ConversationsDatabase(postgres, postgres.create_database(), folder)
        await asyncio.to_thread(database.migrate)
        async with running_stage(kubeconfig, database, folder, count) as stage:
            return report(await run_restarts(stage, count, restarts))


def main() -> int:
    """Runs the benchmark; returns 1 where it is not as promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.livekit_restart", description=__doc__)
    parser.add_argument("--restarts", type=int, default=RESTARTS, help=f"of LiveKit (default {RESTARTS})")
    parser.add_argument("--calls", type=int, default=CALLS, help=f"calls at once (default {CALLS})")
    arguments = parser.parse_args()
    print("Starting the control plane (its first build takes minutes)", flush=True)
    return run_benchmark(measure(arguments.calls, arguments.restarts))


if __name__ == "__main__":
    sys.exit(main())
