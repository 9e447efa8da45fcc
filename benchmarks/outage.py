"""Claims at an even rate while what stands beside the operators is away, one after the other, or answers nothing.

Everything runs on this machine, as for the claims, with two operators; calls end all the time, and what is said in them
is written to a real Postgres through a real PgBouncer. Before each of Postgres, PgBouncer, LiveKit and the API server
stands a door of ours: shut, it refuses and breaks what was open; hanging, it takes everything and passes nothing on.
Before the API server it shuts out those who create VoiceSessions, too. While LiveKit is away, other calls wait for a
room; while the image of a second pool is, calls wait for its pods. A VoiceSession's time begins when it was due to be
created; after an outage of the API server, for those that were due before its return, with that.

At the end, what was said in the calls is compared with what is in the database.
"""

import argparse
import asyncio
import configparser
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from benchmarks.control_plane import (
    AWAY_IMAGE,
    CALL_SECONDS,
    CONVERSATION_KEY,
    ControlPlane,
    Peers,
    create_pool_and_profile,
    running_control_plane,
    scratch_folder,
)
from benchmarks.processes import run_benchmark
from benchmarks.report import percentile, print_result, print_table
from benchmarks.session_load import Load, creating, read_accepted, until_accepted
from conversations.undelivered import UndeliveredPieces
from testing.chart import find, render
from testing.conversations import PASSWORDS, ConversationsDatabase
from testing.postgres import PgBouncerProcess, restartable_pgbouncer, running_postgres
from testing.proxy import Proxy
from testing.tasks import Tasks
from voicesession.names import VOICE_SESSIONS

T = TypeVar("T")

RATE = 5.0
# Beside them, of calls that wait for what is away.
WAITING_RATE = 2.0
# As long as the token service waits for the API server.
PATIENCE_SECONDS = 5.0
POOL_SIZE = 60
PEERS = POSTGRES, PGBOUNCER, LIVEKIT, IMAGE, API_SERVER = "postgres", "pgbouncer", "livekit", "image", "api_server"
SECOND_POOL = "second"
AWAY_SECONDS, API_SERVER_SECONDS = 18.0, 30.0
# After each, so that its return is in its figures.
CALM_SECONDS = 8.0
CLAIM_P99_MILLIS, API_SERVER_P99_MILLIS = 376, 1_000
# As soon a kubelet begins a container anew.
RESTART_SECONDS = 1.0
# Until all calls are over, and until everything is delivered.
END_SECONDS, DELIVERY_SECONDS = 60.0, 90.0


@dataclass(frozen=True)
class Outage:
    """What is away, or hangs."""

    peer: str
    seconds: float
    hangs: bool = False

    @property
    def words(self) -> str:
        """Returns what it is called."""
        return f"{self.peer.replace('_', ' ')} {'hangs' if self.hangs else 'away'}"


@dataclass
class Stage:
    """An outage and the calm after it, by the monotonic clock."""

    outage: Outage
    began: float
    returned: float = 0.0
    ended: float = 0.0

    def due(self, load: Load) -> list[str]:
        """Returns the VoiceSessions that were due in it."""
        return [name for name, due in load.due.items() if self.began <= due < self.ended]

    def millis(self, load: Load) -> list[float]:
        """Returns the milliseconds of those that were accepted; after an outage of the API server, from its return."""
        since = self.returned if self.outage.peer == API_SERVER else float("-inf")
        accepted = {name: load.accepted[name] for name in self.due(load) if name in load.accepted}
        return [(at - max(load.due[name], since)) * 1000 for name, at in accepted.items() if at >= since]


@dataclass
class Findings:
    """What came of it all. `late`: calls whose pods could not write all of their conversation by their end."""

    stages: list[Stage]
    load: Load
    waiting: list[Load]  # those that waited for what was away
    unended: int = 0
    rows: int = 0
    rows_lost: int = 0
    late: int = 0
    undelivered: int = 0

    def worst_p99(self, peers: Collection[str]) -> float:
        """Returns the worst of these peers' outages."""
        own = [stage for stage in self.stages if stage.outage.peer in peers]
        return max((percentile(stage.millis(self.load), 0.99) for stage in own), default=0.0)

    @property
    def peers(self) -> list[str]:
        """Returns who was away."""
        return list(dict.fromkeys(stage.outage.peer for stage in self.stages))

    @property
    def lost(self) -> int:
        """Returns how many VoiceSessions no pod has accepted. Without an API server there are none to accept."""
        shut_out = {name for name in self.load.refusals if self._is_shut_out(self.load.due[name])}
        return len(self.load.due.keys() - self.load.accepted.keys() - shut_out)

    def _is_shut_out(self, due: float) -> bool:
        """Tells whether a creation that was due then may have met an API server that was away."""
        stages = [stage for stage in self.stages if stage.outage.peer == API_SERVER]
        return any(stage.began - PATIENCE_SECONDS < due < stage.returned for stage in stages)


@dataclass
class Doors:
    """The doors before everybody, by name."""

    _stack: contextlib.AsyncExitStack
    _proxies: dict[str, Proxy] = field(default_factory=dict)

    async def open(self, peer: str, port: int) -> int:
        """Opens a door before this port; returns its own."""
        proxy = self._proxies[peer] = Proxy(port)
        await proxy.open()
        self._stack.push_async_callback(proxy.cut)
        return proxy.port

    @contextlib.asynccontextmanager
    async def shut(self, peer: str, *, hangs: bool) -> AsyncIterator[None]:
        """Has it shut, or hanging, meanwhile."""
        proxy = self._proxies[peer]
        if hangs:
            proxy.hang()
        else:
            await proxy.cut()
        try:
            yield
        finally:
            if hangs:
                proxy.go_on()
            else:
                await proxy.open()


@dataclass(frozen=True)
class Site:
    """Everything that runs."""

    plane: ControlPlane
    doors: Doors
    database: ConversationsDatabase


@contextlib.asynccontextmanager
async def running_site(folder: Path, call_seconds: float) -> AsyncIterator[Site]:
    """Starts everything, with a door before each; ends it afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        doors = Doors(stack)
        server = stack.enter_context(running_postgres())
        database = ConversationsDatabase(server, server.create_database(), folder, CONVERSATION_KEY.encode())
        database.migrate()
        behind = replace(server, port=await doors.open(POSTGRES, server.port))
        bouncer = stack.enter_context(restartable_pgbouncer(behind, read_pgbouncer_settings(), PASSWORDS))
        tasks = Tasks()
        stack.push_async_callback(tasks.cancel)
        tasks.start(keep_running(bouncer))
        port = await doors.open(PGBOUNCER, bouncer.port)
        peers = Peers(doors.open, database.url("voice_agent", port), database.url("voice_closer", port))
        plane = await stack.enter_async_context(
            running_control_plane(folder, call_seconds=call_seconds, operators=2, peers=peers)
        )
        await create_pool_and_profile(plane.api, SECOND_POOL)
        yield Site(plane, doors, database)


async def keep_running(bouncer: PgBouncerProcess) -> None:
    """Begins PgBouncer anew where it ends, as a kubelet does, until cancelled.

    1.18 ends by itself after a hanging Postgres, when cancellations of its clients go through
    (`disconnect_client(): bad client state`).
    """
    while True:
        await asyncio.sleep(RESTART_SECONDS)
        if bouncer.has_ended:
            print("  PgBouncer has ended by itself, and is begun anew", flush=True)
            bouncer.start()


def read_pgbouncer_settings() -> dict[str, str]:
    """Returns the chart's, but for what is of a cluster."""
    ini = configparser.ConfigParser(inline_comment_prefixes=(";",))
    ini.read_string(find(render(), "ConfigMap", "pgbouncer")["data"]["pgbouncer.ini"])
    own = ("listen_", "auth_", "unix_socket_dir", "server_tls_")
    return {name: value for name, value in ini["pgbouncer"].items() if not name.startswith(own)}


async def run_outages(site: Site, outages: Sequence[Outage], calm_seconds: float, rate: float = RATE) -> Findings:
    """Runs one outage after the other under load, and looks at what is left of it."""
    load = Load(rate, patience=PATIENCE_SECONDS)
    found = Findings([], load, [])
    async with creating(site.plane, load):
        await asyncio.sleep(calm_seconds)
        for number, outage in enumerate(outages, 1):
            print(f"  {number}/{len(outages)} {outage.words}, {outage.seconds:g} s (Ctrl-C stops)", flush=True)
            stage = Stage(outage, time.monotonic())
            found.stages.append(stage)
            async with make(site, outage, found):
                await asyncio.sleep(outage.seconds)
            stage.returned = time.monotonic()
            await asyncio.sleep(calm_seconds)
            stage.ended = time.monotonic()
    print("  the last calls end", flush=True)
    await until_accepted(site.plane, load)
    await look_back(site, found)
    return found


@contextlib.asynccontextmanager
async def make(site: Site, outage: Outage, found: Findings) -> AsyncIterator[None]:
    """Makes an outage meanwhile; where calls can wait for what is away, some do."""
    async with contextlib.AsyncExitStack() as stack:
        if outage.peer == IMAGE:
            await stack.enter_async_context(without_image(site.plane))
        else:
            await stack.enter_async_context(site.doors.shut(outage.peer, hangs=outage.hangs))
        waiting = {IMAGE: Load(WAITING_RATE, profile=SECOND_POOL), LIVEKIT: Load(WAITING_RATE, in_rooms=False)}
        if load := waiting.get(outage.peer):
            found.waiting.append(load)
            await stack.enter_async_context(creating(site.plane, load))
        yield


@contextlib.asynccontextmanager
async def without_image(plane: ControlPlane) -> AsyncIterator[None]:
    """Has pods of the second pool not start meanwhile."""
    await plane.patch_pool(SECOND_POOL, {"image": AWAY_IMAGE})
    try:
        yield
    finally:
        await plane.patch_pool(SECOND_POOL, {"image": "agent"})


async def look_back(site: Site, found: Findings) -> None:
    """Waits until every call is over and everything is delivered, and compares what was said with what is kept."""
    left = await _until_none(lambda: _list_sessions(site.plane), END_SECONDS)
    kept_back = await _until_none(UndeliveredPieces(site.plane.api).list_all, DELIVERY_SECONDS)
    found.undelivered = sum(piece.rows for piece in kept_back)
    told = await site.plane.read_said()
    said = {(session, item) for session, items in told["said"].items() for item in items}
    kept = site.database.query("SELECT session_id::text, item_id FROM conversation_messages")
    ended = site.database.query(
        "SELECT session_id::text FROM conversation_sessions WHERE ended_at IS NOT NULL AND end_reason IS NOT NULL"
    )
    found.rows, found.late = len(said), told["late"]
    found.rows_lost = len(said - {(row["session_id"], row["item_id"]) for row in kept})
    # A call that is left is not over, or is and its VoiceSession does not say so.
    found.unended = len({*told["said"], *left} - ({row["session_id"] for row in ended} - set(left)))
    found.load.doubled = (await site.plane.read_results())["doubled"]
    for load in found.waiting:
        await read_accepted(site.plane, load)


async def _until_none(look: Callable[[], Awaitable[list[T]]], seconds: float) -> list[T]:
    """Returns what `look` still finds after so many seconds."""
    deadline = time.monotonic() + seconds
    while (found := await look()) and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(1)
    return found


async def _list_sessions(plane: ControlPlane) -> list[str]:
    objects, _ = await plane.api.list_objects(VOICE_SESSIONS)
    return [each["metadata"]["uid"] for each in objects]


def report(found: Findings) -> int:
    """Prints the table, what is lost, and the last line; returns 1 where it is not as promised."""
    load = found.load
    rows = {stage.outage.words: stage.millis(load) for stage in found.stages}
    print_table("Due → accepted by its pod; API server: from its return", rows)
    for each in found.waiting:
        words = f"of pool {each.profile}" if each.profile == SECOND_POOL else "without a room"
        print(f"  {len(each.accepted)} of {len(each.due)} calls {words} were served all the same, when it was back")
    print(f"  {found.rows} rows; {found.late} calls ended with some unwritten; {found.undelivered} never delivered")
    load.tell_refusals()
    claim_p99 = found.worst_p99([peer for peer in found.peers if peer != API_SERVER])
    api_server_p99 = found.worst_p99([API_SERVER])
    print_result(
        {
            "claim_p99_ms": claim_p99,
            **{f"{peer}_p99_ms": found.worst_p99([peer]) for peer in found.peers},
            "unended": found.unended,
            "rows_lost": found.rows_lost,
            "rows": found.rows,
            "late": found.late,
            "lost": found.lost,
            "doubled": load.doubled,
            "sessions": len(load.due),
            "refused": len(load.refusals),
        }
    )
    in_time = claim_p99 <= CLAIM_P99_MILLIS and api_server_p99 <= API_SERVER_P99_MILLIS
    return 0 if in_time and not (found.unended or found.rows_lost or found.lost or load.doubled) else 1


def list_outages(seconds: float, api_server_seconds: float) -> list[Outage]:
    """Returns all, the API server's last."""
    peers = (POSTGRES, PGBOUNCER, LIVEKIT)
    return [
        *(Outage(peer, seconds, hangs) for peer in peers for hangs in (False, True)),
        Outage(IMAGE, seconds),
        *(Outage(API_SERVER, api_server_seconds, hangs) for hangs in (False, True)),
    ]


async def measure(outages: Sequence[Outage]) -> int:
    """Starts everything, and runs the outages."""
    with scratch_folder() as folder:
        async with running_site(folder, CALL_SECONDS) as site:
            await site.plane.fill_pool(POOL_SIZE)
            return report(await run_outages(site, outages, CALM_SECONDS))


def main() -> int:
    """Runs the benchmark; returns 1 where it is not as promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=AWAY_SECONDS, help=f"each (default {AWAY_SECONDS:g})")
    parser.add_argument(
        "--api-server-seconds",
        type=float,
        default=API_SERVER_SECONDS,
        help=f"the API server's (default {API_SERVER_SECONDS:g})",
    )
    parser.add_argument("--only", nargs="+", default=list(PEERS), choices=PEERS, help="these alone")
    arguments = parser.parse_args()
    print("Starting the control plane (its first build takes minutes)", flush=True)
    outages = list_outages(arguments.seconds, arguments.api_server_seconds)
    return run_benchmark(measure([outage for outage in outages if outage.peer in arguments.only]))


if __name__ == "__main__":
    sys.exit(main())
