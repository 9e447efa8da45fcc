"""LiveKit or Postgres takes connections and answers nothing: calls that need neither get their pod meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from conversations import pool
from rooms import client
from testing.livekit import LiveKitServer
from testing.operator_cluster import OperatorCluster, operator_cluster
from testing.waiting import eventually
from voice_operator.keys import LANES, Kind
from voicesession import clock
from voicesession.conditions import ConditionType, Reason, with_condition
from voicesession.models import Phase, VoiceSessionStatus
from voicesession.names import VOICE_SESSIONS

# More than the workers that calls have: in one queue for everything, nothing would be left for a new call.
MANY = LANES[Kind.CALL].workers + 10
# Longer than a test waits: whoever waits for the peer waits to the end of the test.
HANGING_SECONDS = 120.0


class HangingServer:
    """Takes connections and answers nothing. `asked`: how many have sent something."""

    def __init__(self) -> None:
        self.port = 0
        self.asked = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["HangingServer"]:
        """Listens."""
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.read(1):
                self.asked += 1
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def cluster_of(
    api_server: Path, livekit: LiveKitServer, folder: Path, **settings: Any
) -> AsyncIterator[OperatorCluster]:
    async with operator_cluster(api_server, livekit, folder, **settings) as cluster:
        await cluster.create_pool()
        await cluster.create_profile()
        yield cluster


async def test_a_hanging_livekit_delays_no_claim(
    api_server: Path, livekit: LiveKitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_TIMEOUT_SECONDS", HANGING_SECONDS)
    async with (
        HangingServer().serving() as hanging,
        cluster_of(api_server, livekit, tmp_path, livekit_url=f"http://127.0.0.1:{hanging.port}") as cluster,
    ):
        cluster.start_operator()
        await cluster.wait_for_warm()
        await asyncio.gather(*(cluster.create_session() for _ in range(MANY)))  # the operator makes their rooms
        await eventually(lambda: hanging.asked >= LANES[Kind.ROOM].workers)
        await cluster.create_session("call", room="room")
        await cluster.wait_for_phase("call", "Active")


async def test_a_hanging_postgres_delays_no_claim(
    api_server: Path, livekit: LiveKitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "WAIT_SECONDS", HANGING_SECONDS)
    monkeypatch.setattr(pool, "CONNECT_SECONDS", round(HANGING_SECONDS))
    async with HangingServer().serving() as hanging:
        database = SecretStr(f"postgresql://u:p@127.0.0.1:{hanging.port}/d")
        async with cluster_of(api_server, livekit, tmp_path, database_url=database) as cluster:
            await asyncio.gather(*(_create_lost(cluster, f"lost-{number}") for number in range(MANY)))
            cluster.start_operator()
            await cluster.wait_for_warm()
            await eventually(lambda: hanging.asked >= 1)
            await cluster.create_session("call", room="room")
            await cluster.wait_for_phase("call", "Active")


async def _create_lost(cluster: OperatorCluster, name: str) -> None:
    """Creates a VoiceSession whose one pod is gone: the operator finds it dead, and has its conversation closed."""
    session = await cluster.create_session(name, room=name, limits={"maxAttempts": 1})
    conditions = with_condition([], ConditionType.POD_BOUND, "True", Reason.BOUND, "", clock.now())
    conditions = with_condition(conditions, ConditionType.AGENT_JOINED, "True", Reason.JOINED, "", clock.now())
    status = VoiceSessionStatus(conditions=conditions, phase=Phase.ACTIVE, attempts=1, agent_joined_at=clock.now())
    await cluster.api.patch_status(VOICE_SESSIONS, name, session.metadata.resource_version, status.to_wire())
