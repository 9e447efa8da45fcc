"""The leading operator's pod is killed in the middle of a call: the call goes on, and the next one is served."""

import asyncio
from collections.abc import Callable

from testing.customer import joined_room
from testing.front_door import ask_for_connection
from testing.release import Release
from testing.release_calls import wait_for_end
from testing.waiting import eventually
from voice_operator import lease


def leader_of(release: Release) -> str:
    """Returns the name of the pod that holds the Lease; empty where none does."""
    holder: str = release.get("lease", lease.NAME)["spec"]["holderIdentity"]
    return holder.rpartition("_")[0]


async def test_the_leader_is_killed_in_mid_call(
    release: Release, front_door: str, speak: Callable[[str], bytes]
) -> None:
    speech = speak("I would like to order three green apples.")
    connection = ask_for_connection(front_door)
    async with joined_room(connection.server_url, connection.token) as customer:
        await customer.answer(customer.connect_began_at)
        leader = leader_of(release)
        operators = release.get("pods", "-l", "app.kubernetes.io/component=operator")["items"]
        assert leader in {pod["metadata"]["name"] for pod in operators}
        assert len(operators) == 2
        release.kubectl("delete", "pod", leader, "--grace-period=0", "--force")

        next_one = ask_for_connection(front_door)
        async with joined_room(next_one.server_url, next_one.token) as other:
            await asyncio.gather(customer.ask(speech), other.answer(other.connect_began_at))
        assert leader_of(release) not in {leader, ""}
        await customer.ask(speech)

    for each in (connection, next_one):
        ended = await asyncio.to_thread(wait_for_end, release, each.room)
        assert (ended["status"]["phase"], ended["status"]["endReason"]) == ("Ended", "participant_left")

    def both_stand() -> bool:
        status = release.get("deployment", release.full_name("operator"))["status"]
        return bool(status.get("readyReplicas") == 2)

    await eventually(both_stand, 120, "no other one stands by")
