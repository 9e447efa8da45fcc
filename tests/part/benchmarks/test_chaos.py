"""The benchmark of chaos, short: pods, an operator, database and models fail, and nothing is lost of the calls."""

import asyncio
import signal

from livekit import api

from benchmarks.chaos import Chaos
from benchmarks.chaos_check import Left, has_settled, is_clean, judge
from benchmarks.process_stage import ProcessStage
from testing.agent_cluster import AgentCluster
from testing.waiting import eventually
from voicesession.names import VOICE_SESSIONS

WARM = 3
LANES = 2
SECONDS, EVERY = 24.0, 5.0
SETTLE_SECONDS = 60
PAUSE_SECONDS = 3.0
SEED = 4


async def read_left(agents: AgentCluster, faults: int) -> Left:
    sessions, _ = await agents.api.list_objects(VOICE_SESSIONS)
    async with agents.livekit.client() as client:
        rooms = [room.name for room in (await client.room.list_rooms(api.ListRoomsRequest())).rooms]
    return Left(
        sessions=sessions,
        pods=await agents.pods(),
        faults=faults,
        conversations=agents.database.query("SELECT * FROM voice.conversation_sessions"),
        messages=agents.database.query("SELECT * FROM voice.conversation_messages ORDER BY position, attempt"),
        rooms=rooms,
    )


async def test_nothing_is_lost_doubled_or_left_open(agents: AgentCluster) -> None:
    operator = agents.start_operator_process()

    async def kill_operator() -> None:
        nonlocal operator
        operator.send_signal(signal.SIGKILL)
        await asyncio.to_thread(operator.wait, 10)
        operator = agents.start_operator_process()

    async def freeze_postgres() -> None:
        with agents.database.server.frozen():
            await asyncio.sleep(PAUSE_SECONDS)  # noqa: TID251 - as long as it is away

    async def stall_models() -> None:
        agents.models.speech_pause = PAUSE_SECONDS
        await asyncio.sleep(PAUSE_SECONDS)  # noqa: TID251 - as long as they stall
        agents.models.speech_pause = 0.0

    async def tell(_number: int, _name: str) -> None:
        """The test reads what chaos itself knows."""

    faults = {"operator killed": kill_operator, "Postgres frozen": freeze_postgres, "models stalled": stall_models}
    try:
        await agents.create_warm_pool(WARM)
        stage = ProcessStage(agents, WARM)
        chaos = Chaos(stage, SEED, faults, tell)
        await chaos.run(SECONDS, EVERY, LANES)
        await stage.mend()

        async def found() -> dict[str, int]:
            return judge(await read_left(agents, len(chaos.faults)))

        async def settled() -> bool:
            return has_settled(await found())

        await eventually(settled, SETTLE_SECONDS, lambda: chaos)
        result = await found()
        assert is_clean(result), (result, chaos)
        assert result["remarks"] > 0
        assert not chaos.lost
    finally:
        operator.kill()
        await asyncio.to_thread(operator.wait, 10)
