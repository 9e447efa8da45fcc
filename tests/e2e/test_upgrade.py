"""A call goes on while its release is upgraded from the one before, changed, rolled back, and given a node more."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from testing.cluster import kubectl
from testing.customer import Customer, joined_room
from testing.front_door import ask_for_connection
from testing.previous_release import PreviousRelease, is_in_history, unpack
from testing.progress import Step
from testing.release import Release
from testing.release_calls import rows_of, voice_session_of, wait_for_end

pytestmark = [
    pytest.mark.skipif(os.environ.get("CLUSTER") == "current", reason="another's nodes are not ours to cordon"),
    pytest.mark.skipif(not is_in_history(), reason="a shallow clone has no release before: `git fetch --unshallow`"),
    pytest.mark.timeout(1200),
]

NOW = Release("upgrade", "e2e-upgrade")
# The one that helm would look at first.
NEW_NODE, OLD_NODE = "node1", "node2"
# Ports of its own, and modest: other releases may run beside it. Postgres keeps nothing where it moves.
VALUES: dict[str, Any] = {
    "livekit": {"ports": {"http": 7990, "tcp": 7991, "udp": 7992}},
    "postgres": {"nodeSelector": {"kubernetes.io/hostname": OLD_NODE}},
    "localModels": {"resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}},
    "defaultPool": {"warm": {"min": 1, "max": 3}},
}
READY_SECONDS = 180.0
ANSWER_SECONDS = 60.0


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> PreviousRelease:
    made = unpack(tmp_path_factory.mktemp("previous"))
    made.build_images()
    return made


@pytest.fixture
def before(previous: PreviousRelease) -> Iterator[Release]:
    """The release before this one, installed where all but one node takes pods."""
    release = replace(NOW, chart=previous.chart, images=previous.images)
    release.uninstall()
    kubectl("cordon", NEW_NODE)
    try:
        release.install(VALUES)
        release.wait_until_ready(Step("the release before"), READY_SECONDS)
        yield release
    finally:
        kubectl("uncordon", NEW_NODE)
        release.uninstall()


def ready(release: Release, title: str) -> None:
    """Waits until the change has gone through all of the release's parts."""
    release.kubectl("rollout", "status", "deployment", f"--timeout={READY_SECONDS:.0f}s", timeout=READY_SECONDS + 10)
    release.wait_until_ready(Step(title), READY_SECONDS)


async def answers_a_new_call(release: Release) -> None:
    """Sees that a customer is greeted."""
    connection = await asyncio.to_thread(ask_for_connection, f"http://{release.token_service_address()}")
    async with joined_room(connection.server_url, connection.token) as customer:
        await customer.answer(customer.connect_began_at, ANSWER_SECONDS)


async def knows_its_customer(customer: Customer) -> None:
    """Sees that the agent still hears, remembers, and is heard."""
    known = len(customer.heard.transcripts)
    await customer.type("What is my name?")
    said = customer.heard.transcripts
    await customer.until(
        lambda: any("Your name is Robert." in each.text for each in said[known:]), ANSWER_SECONDS, "the customer's name"
    )
    assert customer.heard.disconnected is None


async def test_a_call_outlives_upgrade_log_level_node_and_rollback(before: Release, previous: PreviousRelease) -> None:
    connection = ask_for_connection(f"http://{before.token_service_address()}")
    livekit = before.get("pods", "-l", "app.kubernetes.io/component=livekit")["items"]
    async with joined_room(connection.server_url, connection.token) as customer:
        await customer.answer(customer.connect_began_at, ANSWER_SECONDS)
        await customer.type("My name is Robert.")
        await knows_its_customer(customer)
        began = voice_session_of(before, connection.room)
        assert began is not None

        kubectl("uncordon", NEW_NODE)
        # Another image of LiveKit's restarts it, which the page says.
        values = {**VALUES, "images": {"livekit": previous.image_of("livekit")}, "logLevel": "DEBUG"}
        await asyncio.to_thread(NOW.install, values)
        await asyncio.to_thread(ready, NOW, "upgraded")
        await knows_its_customer(customer)
        await answers_a_new_call(NOW)

        await asyncio.to_thread(NOW.roll_back, 1)
        await asyncio.to_thread(ready, NOW, "rolled back")
        await knows_its_customer(customer)
        await answers_a_new_call(NOW)

    status = (await asyncio.to_thread(wait_for_end, NOW, connection.room))["status"]
    assert (status["phase"], status["attempts"]) == ("Ended", 1)
    assert status["podName"] == began["status"]["podName"]
    assert [pod["metadata"]["uid"] for pod in livekit] == [
        pod["metadata"]["uid"] for pod in NOW.get("pods", "-l", "app.kubernetes.io/component=livekit")["items"]
    ]
    heard = [row["content"] for row in rows_of(NOW, connection.room) if row["role"] == "user"]
    assert heard == ["My name is Robert.", *["What is my name?"] * 3]
