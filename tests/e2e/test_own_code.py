"""A team's own livekit-agents code, unedited: one file as an entrypoint (rung 2) and as an Agent class (rung 1)."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from local_cluster.handout import IMAGES_JSON
from testing.customer import Customer, joined_room
from testing.front_door import ask_for_connection
from testing.progress import Step
from testing.release import Release
from testing.release_calls import rows_of, wait_for_end
from testing.transcripts import words
from voicesession.names import API_VERSION

SENTENCES = ("What is on the menu?", "Please add the pizza called salami.", "Please finish the order.")


@contextmanager
def pool_with_code(release: Release, name: str, code: str, image: str | None = None) -> Iterator[None]:
    """Gives the release a pool and a profile of this name, whose pods run `code` of the example image."""
    references = json.loads(IMAGES_JSON.read_text())
    default = release.get("agentpool", "default")["spec"]
    spec: dict[str, Any] = {
        "image": image or references["example-agents"],
        "code": code,
        "providers": default["providers"],
        "warm": {"min": 1, "max": 3},
    }
    release.apply(
        {"apiVersion": API_VERSION, "kind": "AgentPool", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": API_VERSION, "kind": "AgentProfile", "metadata": {"name": name}, "spec": {"pool": name}},
    )
    try:
        yield
    finally:
        release.kubectl("delete", f"agentprofile/{name}", f"agentpool/{name}", "--wait=false")


async def order_a_pizza(customer: Customer, speak: Callable[[str], bytes]) -> None:
    """Asks for the menu, a pizza and the bill."""
    await customer.answer(customer.connect_began_at)
    for sentence in SENTENCES:
        await customer.ask(speak(sentence), timeout=45)


@pytest.mark.parametrize("code", ["pizza:entrypoint", "pizza:OrderTaker"])
async def test_the_example_takes_an_order(
    release: Release, front_door: str, speak: Callable[[str], bytes], code: str
) -> None:
    name = "pizza-" + code.partition(":")[2].lower()
    with pool_with_code(release, name, code):
        release.wait_until_ready(Step(name), timeout=120)
        connection = ask_for_connection(front_door, profile=name)
        async with joined_room(connection.server_url, connection.token) as customer:
            await order_a_pizza(customer, speak)
        ended = wait_for_end(release, connection.room)
    assert ended["status"]["phase"] == "Ended", ended["status"]
    rows = rows_of(release, connection.room)
    calls = [row["tool"]["name"] for row in rows if row["kind"] == "tool_call"]
    results = [row for row in rows if row["kind"] == "tool_result"]
    assert {"read_menu", "add_pizza", "finish_order"} <= set(calls), calls
    assert len(results) >= 3
    assert any(row["kind"] == "handoff" for row in rows)
    spoken = words(" ".join(row["content"] or "" for row in rows if row["role"] == "assistant"))
    assert "margherita" in spoken
    # The second agent's own first words: the handoff happened.
    assert "send" in spoken


def test_code_that_does_not_import_is_told_by_the_pool(release: Release) -> None:
    with pool_with_code(release, "broken", "pizza:Missing"):
        release.kubectl(
            *("wait", "agentpool/broken", "--timeout=90s"),
            "--for=jsonpath={.status.conditions[?(@.type=='Ready')].reason}=CodeImportFailed",
            timeout=100,
        )
        conditions = release.get("agentpool", "broken")["status"]["conditions"]
    message = next(one["message"] for one in conditions if one["type"] == "Ready")
    assert "Missing" in message
