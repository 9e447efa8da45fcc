"""The API server, LiveKit or a webhook is away for a while."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from livekit import api

from testing.livekit import LiveKitServer, new_room
from testing.operator_cluster import OperatorCluster, operator_cluster
from testing.proxy import open_proxy, proxied_api_server
from testing.tickets import sign_ticket
from testing.waiting import eventually, stays
from voicesession import clock
from voicesession.models import EndReason
from voicesession.names import voice_session_name


async def _is_waiting(cluster: OperatorCluster, name: str) -> bool:
    session = await cluster.session(name)
    return session is not None and session.status.pod_name is None


async def _has_no_pod(cluster: OperatorCluster) -> bool:
    return not await cluster.pods()


async def test_calls_survive_an_outage_of_the_api_server_and_are_booked_after_it(
    cluster: OperatorCluster, api_server: Path, tmp_path: Path
) -> None:
    await cluster.create_pool(warm={"min": 2})
    await cluster.create_profile()
    async with proxied_api_server(api_server, tmp_path) as (proxy, kubeconfig):
        operator = cluster.start_operator(kubeconfig=kubeconfig)
        await cluster.wait_for_warm(2)
        await cluster.create_session("ends-meanwhile", room="room-1")
        ending = await cluster.wait_for_phase("ends-meanwhile", "Active")

        await proxy.cut()
        await cluster.create_session("comes-meanwhile", room="room-2")
        await cluster.stub_of(ending).finish(EndReason.PARTICIPANT_LEFT)
        await stays(lambda: _is_waiting(cluster, "comes-meanwhile"), 3, "the API server is not away")
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
    async with proxied_api_server(api_server, tmp_path) as (proxy, kubeconfig):
        await proxy.cut()
        operator = cluster.start_operator(kubeconfig=kubeconfig)
        await stays(lambda: _has_no_pod(cluster), 1.5, "the API server is not away")
        await proxy.open()
        await cluster.wait_for_warm()
        await cluster.create_session("call", room="room")
        await cluster.wait_for_phase("call", "Active")
        await operator.stop()


async def test_without_livekit_a_call_that_needs_a_room_says_so_and_gets_it_later(
    api_server: Path, livekit: LiveKitServer, tmp_path: Path
) -> None:
    async with (
        open_proxy(livekit.port) as proxy,
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


async def _start_room(livekit: LiveKitServer, name: str, metadata: str) -> api.Room:
    async with livekit.client() as client:
        return await client.room.create_room(api.CreateRoomRequest(name=name, metadata=metadata))


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
    name = new_room()
    room = await _start_room(livekit, name, sign_ticket(name))
    name = voice_session_name(room.sid)

    async def made() -> bool:
        return await polling.session(name) is not None

    await eventually(made)
    active = await polling.wait_for_phase(name, "Active")
    assert active.spec.room_sid == room.sid


async def test_a_room_of_an_old_ticket_is_closed(polling: OperatorCluster, livekit: LiveKitServer) -> None:
    name = new_room()
    room = await _start_room(livekit, name, sign_ticket(name, issued_at=clock.now() - timedelta(minutes=10)))
    await eventually(lambda: _room_is_gone(livekit, room.name))
    assert await polling.session(voice_session_name(room.sid)) is None


async def test_a_room_whose_call_is_over_is_closed(polling: OperatorCluster, livekit: LiveKitServer) -> None:
    name = new_room()
    room = await _start_room(livekit, name, sign_ticket(name))
    name = voice_session_name(room.sid)
    await polling.create_session(name, room=room.name, roomSid=room.sid, end=True)
    await polling.wait_for_phase(name, "Ended")
    await eventually(lambda: _room_is_gone(livekit, room.name))


async def test_a_room_without_a_ticket_is_left_alone(polling: OperatorCluster, livekit: LiveKitServer) -> None:
    room = await _start_room(livekit, new_room(), "somebody else's")

    async def is_left_alone() -> bool:
        return not await _room_is_gone(livekit, room.name) and not await polling.session(voice_session_name(room.sid))

    await stays(is_left_alone, 5, "it was closed, or got an agent")
