"""A call where there are IPv6 addresses alone: operator to pod, agent and customer to LiveKit."""

from urllib.parse import urlsplit

from local_cluster.ports import LOOPBACK_6
from rooms.client import RoomClient
from testing.agent_pod import build_assignment, build_provider, running_pod
from testing.customer import joined_room
from testing.fake_openai import FakeOpenAI
from testing.livekit import KEY, SECRET, new_room, running_livekit
from testing.operator_objects import make_claimed_pod
from voice_operator.pods.client import PodClient
from voicesession.assignment import Joined
from voicesession.models import EndReason


async def test_a_call_by_ipv6_alone(fake: FakeOpenAI) -> None:
    room = new_room()
    with running_livekit(address=LOOPBACK_6) as livekit:
        async with running_pod([build_provider(fake.base_url)], address=LOOPBACK_6) as pod:
            pods, rooms = PodClient(pod.key, urlsplit(pod.url).port or 0), RoomClient(livekit.url, KEY, SECRET)
            seen = make_claimed_pod(ip=LOOPBACK_6, uid=pod.uid)
            try:
                assert await pods.is_ready(seen)
                follower = await pod.assign(build_assignment(livekit, room))
                await follower.wait_for(Joined)
                async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
                    await customer.until_said("Hello there.")
                    assert [each.name for each in await rooms.list()] == [room]
                    await pods.end(seen, EndReason.ENDED_BY_REQUEST)
                    await customer.until_said("Bye now.")
                assert await pod.exit_code() == 0
            finally:
                await pods.close()
                await rooms.close()
