"""Somebody else's agent in a call's room is noticed; avatars, and customers, are not taken for one."""

from livekit import rtc
from livekit.agents.types import ATTRIBUTE_PUBLISH_ON_BEHALF

from testing.agent_pod import AgentPod, build_assignment
from testing.customer import joined_room
from testing.livekit import LiveKitServer, new_room, running_livekit
from testing.plain_worker import running_plain_worker
from voicesession.assignment import Heartbeat, OtherAgent
from voicesession.names import AGENT_IDENTITY


async def test_an_ordinary_worker_is_sent_into_our_rooms_and_is_noticed(pod: AgentPod) -> None:
    room = new_room()
    with running_livekit() as livekit:  # in which it can come into no other test's rooms
        async with running_plain_worker(livekit):
            follower = await pod.assign(build_assignment(livekit, room))
            async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
                met = await follower.wait_for(OtherAgent)
                present = customer.room.remote_participants.keys()
    assert met.identity in present - {AGENT_IDENTITY}


async def test_the_first_of_several_is_told_and_an_avatar_is_none(livekit: LiveKitServer, pod: AgentPod) -> None:
    room = new_room()
    avatar = livekit.other_agent_token(room, "avatar", **{ATTRIBUTE_PUBLISH_ON_BEHALF: AGENT_IDENTITY})
    tokens = [avatar, *(livekit.other_agent_token(room, f"agent-AJ_{number}") for number in range(2))]
    async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
        others = [rtc.Room() for _ in tokens]
        for other, token in zip(others, tokens, strict=True):
            await other.connect(livekit.url, token)
        follower = await pod.assign(build_assignment(livekit, room))
        await customer.until_said("Hello there.")
        for other in others:
            await other.disconnect()
        again = rtc.Room()
        await again.connect(livekit.url, tokens[-1])
        heard = len(follower.all_of(Heartbeat))
        await follower.until(lambda: len(follower.all_of(Heartbeat)) > heard + 1, 10, "two more heartbeats")
        await again.disconnect()
    (met,) = follower.all_of(OtherAgent)
    assert met.identity.startswith("agent-AJ_")
