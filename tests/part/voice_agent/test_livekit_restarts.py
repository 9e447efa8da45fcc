"""A real LiveKit is restarted under a call: the agent comes back, and talks on with whoever comes back."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import aiohttp
import pytest
from livekit import rtc

from local_cluster.ports import LOOPBACK
from testing.agent_pod import AgentPod, Follower, build_assignment
from testing.customer import joined_room
from testing.livekit import LiveKitProcess, LiveKitServer, new_room, restartable_livekit
from testing.waiting import eventually
from voicesession.assignment import CallEnded
from voicesession.models import EffectiveLimits, EndReason
from voicesession.names import AGENT_IDENTITY

GREETING = "Hello there."
# For so long after its time LiveKit takes a token all the same.
LEEWAY = -timedelta(minutes=1)


@pytest.fixture
def restartable() -> Iterator[LiveKitProcess]:
    """A LiveKit of this test's own."""
    with restartable_livekit() as process:
        yield process


async def is_refused(livekit: LiveKitServer, token: str) -> bool:
    """Tells whether nobody can enter with this token."""
    url = f"http://{LOOPBACK}:{livekit.port}/rtc/validate?access_token={token}"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status == 401


async def until_ended(follower: Follower) -> CallEnded:
    return await follower.wait_for(CallEnded, 60)


@pytest.mark.parametrize("seconds_down", [0.2, 1.0])
async def test_a_call_goes_on_after_a_restart_of_livekit(
    restartable: LiveKitProcess, pod: AgentPod, seconds_down: float
) -> None:
    livekit, room = restartable.server, new_room()
    follower = await pod.assign(build_assignment(livekit, room))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said(GREETING)
        await restartable.restart(seconds_down)
        await customer.until_answered("still there")
        await customer.until_answered("and to be heard")
        assert not follower.all_of(CallEnded)
    assert (await until_ended(follower)).reason is EndReason.PARTICIPANT_LEFT


async def test_the_agent_comes_back_by_itself_where_livekit_s_library_gives_up(
    restartable: LiveKitProcess, pod: AgentPod
) -> None:
    """As after a LiveKit that took leave, or was away for longer than the library tries: 16 to 26 s.

    The token that it was given has expired meanwhile: LiveKit has renewed it.
    """
    livekit, room = restartable.server, new_room()
    token = livekit.agent_token(room, LEEWAY + timedelta(seconds=12))
    follower = await pod.assign(build_assignment(livekit, room, room_token=token))
    async with joined_room(livekit.url, livekit.customer_token(room)) as first:
        await first.until_said(GREETING)
        await eventually(lambda: is_refused(livekit, token), 30)
        await asyncio.to_thread(restartable.stop)
        await first.until(lambda: first.heard.disconnected is not None, 20, "LiveKit's leave")
    await asyncio.to_thread(restartable.start)
    async with joined_room(livekit.url, livekit.customer_token(room)) as second:
        await second.until_answered("hello again")
        assert second.room.remote_participants[AGENT_IDENTITY].kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
        assert not follower.all_of(CallEnded)
    assert (await until_ended(follower)).reason is EndReason.PARTICIPANT_LEFT


async def test_a_livekit_that_stays_away_closes_the_room(restartable: LiveKitProcess, pod: AgentPod) -> None:
    livekit, room = restartable.server, new_room()
    limits = EffectiveLimits(reconnect_grace_seconds=2)
    follower = await pod.assign(build_assignment(livekit, room, limits=limits))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said(GREETING)
        await asyncio.to_thread(restartable.stop)
        ended = await until_ended(follower)
    assert (ended.reason, ended.message) == (
        EndReason.ROOM_CLOSED,
        "LiveKit was lost and did not come back in time",
    )


async def test_a_customer_who_does_not_come_back_has_left(restartable: LiveKitProcess, pod: AgentPod) -> None:
    livekit, room = restartable.server, new_room()
    limits = EffectiveLimits(reconnect_grace_seconds=3)
    follower = await pod.assign(build_assignment(livekit, room, limits=limits))
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        await customer.until_said(GREETING)
        await asyncio.to_thread(restartable.stop)
        await customer.until(lambda: customer.heard.disconnected is not None, 20, "LiveKit's leave")
    await asyncio.to_thread(restartable.start)
    assert (await until_ended(follower)).reason is EndReason.PARTICIPANT_LEFT
    await eventually(lambda: pod.process.returncode == 0)
