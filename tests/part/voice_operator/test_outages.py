"""The API server, LiveKit or a webhook is away for a while."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from livekit import api

from testing.livekit import LiveKitServer
from testing.operator_cluster import OperatorCluster, operator_cluster
from testing.waiting import eventually
from voicesession import clock
from voicesession.models import EndReason
from voicesession.names import voice_session_name
from voicesession.tickets import new_ticket


class Proxy:
    """A TCP proxy on loopback that can be cut: then it refuses, and breaks what is open."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._target = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Listens, at the same port each time."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuses connections and breaks the open ones."""
        if self._server:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, far_writer}
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._writers -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def _proxy_before(url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(urlsplit(url).port or 0)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.cut()


@asynccontextmanager
async def _api_server_behind_proxy(kubeconfig: Path, folder: Path) -> AsyncIterator[tuple[Proxy, Path]]:
    config = yaml.safe_load(kubeconfig.read_text())  # noqa: ASYNC240 - a small file of a test
    cluster = config["clusters"][0]["cluster"]
    async with _proxy_before(cluster["server"]) as proxy:
        cluster["server"] = f"https://127.0.0.1:{proxy.port}"
        path = folder / "behind-proxy"
        path.write_text(yaml.safe_dump(config))
        yield proxy, path


async def test_calls_survive_an_outage_of_the_api_server_and_are_booked_after_it(
    cluster: OperatorCluster, api_server: Path, tmp_path: Path
) -> None:
    await cluster.create_pool(warm={"min": 2})
    await cluster.create_profile()
    async with _api_server_behind_proxy(api_server, tmp_path) as (proxy, kubeconfig):
        operator = cluster.start_operator(kubeconfig=kubeconfig)
        await cluster.wait_for_warm(2)
        await cluster.create_session("ends-meanwhile", room="room-1")
        ending = await cluster.wait_for_phase("ends-meanwhile", "Active")

        await proxy.cut()
        await cluster.create_session("comes-meanwhile", room="room-2")
        await cluster.stub_of(ending).finish(EndReason.PARTICIPANT_LEFT)
        await asyncio.sleep(3)
        await proxy.open()

        ended = await cluster.wait_for_phase("ends-meanwhile", "Ended")
        assert ended.status.end_reason == "participant_left"
        await cluster.wait_for_phase("comes-meanwhile", "Active")
        await operator.stop()


async def test_an_operator_that_starts_before_the_api_server_waits_for_it(
    cluster: OperatorCluster, api_server: Path, tmp_path: Path
) -> None:
    await cluster.create_pool()
    await cluster.create_profile()
    async with _api_server_behind_proxy(api_server, tmp_path) as (proxy, kubeconfig):
        await proxy.cut()
        operator = cluster.start_operator(kubeconfig=kubeconfig)
        await asyncio.sleep(1.5)
        await proxy.open()
        await cluster.wait_for_warm()
        await cluster.create_session("call", room="room")
        await cluster.wait_for_phase("call", "Active")
        await operator.stop()


async def test_without_livekit_a_call_that_needs_a_room_says_so_and_gets_it_later(
    api_server: Path, livekit: LiveKitServer, tmp_path: Path
) -> None:
    async with (
        _proxy_before(f"http://127.0.0.1:{livekit.port}") as proxy,
        operator_cluster(api_server, livekit, tmp_path, livekit_url=f"http://127.0.0.1:{proxy.port}") as cluster,
    ):
        await cluster.create_pool()
        await cluster.create_profile()
        cluster.start_operator()
        await cluster.wait_for_warm()
        await proxy.cut()
        await cluster.create_session("call")
        pending = await cluster.wait_for_phase("call", "Pending")
        assert pending.status.reason == "LiveKitUnavailable"
        await proxy.open()
        await cluster.wait_for_phase("call", "Active")


# Webhooks


async def _start_room(livekit: LiveKitServer, metadata: str) -> api.Room:
    async with livekit.client() as client:
        request = api.CreateRoomRequest(name=f"room-{secrets.token_hex(4)}", metadata=metadata)
        return await client.room.create_room(request)


async def _room_is_gone(livekit: LiveKitServer, name: str) -> bool:
    async with livekit.client() as client:
        return not (await client.room.list_rooms(api.ListRoomsRequest(names=[name]))).rooms


@pytest.fixture
async def polling(api_server: Path, livekit: LiveKitServer, tmp_path: Path) -> AsyncIterator[OperatorCluster]:
    """A cluster whose operator compares the rooms every half second; no webhook is sent to anybody."""
    async with operator_cluster(api_server, livekit, tmp_path, room_poll_seconds=0.5) as made:
        await made.create_pool()
        await made.create_profile()
        made.start_operator()
        await made.wait_for_warm()
        yield made


async def test_a_started_room_whose_webhook_was_lost_gets_its_agent(
    polling: OperatorCluster, livekit: LiveKitServer
) -> None:
    room = await _start_room(livekit, new_ticket("default").model_dump_json(by_alias=True))
    name = voice_session_name(room.sid)

    async def made() -> bool:
        return await polling.session(name) is not None

    await eventually(made)
    active = await polling.wait_for_phase(name, "Active")
    assert active.spec.room_sid == room.sid


async def test_a_room_of_an_old_ticket_is_closed(polling: OperatorCluster, livekit: LiveKitServer) -> None:
    ticket = new_ticket("default").model_copy(update={"issued_at": clock.now() - timedelta(minutes=10)})
    room = await _start_room(livekit, ticket.model_dump_json(by_alias=True))
    await eventually(lambda: _room_is_gone(livekit, room.name))
    assert await polling.session(voice_session_name(room.sid)) is None


async def test_a_room_whose_call_is_over_is_closed(polling: OperatorCluster, livekit: LiveKitServer) -> None:
    room = await _start_room(livekit, new_ticket("default").model_dump_json(by_alias=True))
    name = voice_session_name(room.sid)
    await polling.create_session(name, room=room.name, roomSid=room.sid, end=True)
    await polling.wait_for_phase(name, "Ended")
    await eventually(lambda: _room_is_gone(livekit, room.name))


async def test_a_room_without_a_ticket_is_left_alone(polling: OperatorCluster, livekit: LiveKitServer) -> None:
    room = await _start_room(livekit, "somebody else's")
    await asyncio.sleep(5)
    assert not await _room_is_gone(livekit, room.name)
    assert await polling.session(voice_session_name(room.sid)) is None
