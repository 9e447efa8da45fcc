"""A team's own livekit-agents code, unedited: one file as an entrypoint (rung 2) and as an Agent class (rung 1)."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from testing.customer import joined_room
from testing.front_door import ask_for_connection
from testing.progress import Step
from testing.release import Release
from testing.release_calls import rows_of, wait_for_end
from testing.release_code import SENTENCES, order_a_pizza, pool_with_code
from testing.transcripts import words


async def order(front_door: str, profile: str, speech: Sequence[bytes]) -> str:
    """Orders a pizza in a call of its own; returns the call's room."""
    connection = ask_for_connection(front_door, profile=profile)
    async with joined_room(connection.server_url, connection.token) as customer:
        await order_a_pizza(customer, speech)
    return connection.room


async def test_the_example_takes_an_order(release: Release, front_door: str, speak: Callable[[str], bytes]) -> None:
    speech = [speak(sentence) for sentence in SENTENCES]
    names = ("entrypoint", "OrderTaker")
    with contextlib.ExitStack() as pools:
        for name in names:
            pools.enter_context(pool_with_code(release, f"pizza-{name.lower()}", f"pizza:{name}"))
        release.wait_until_ready(Step("pools with code"), timeout=120)
        calls = (order(front_door, f"pizza-{name.lower()}", speech) for name in names)
        for room in await asyncio.gather(*calls):
            check_order(release, room)


def check_order(release: Release, room: str) -> None:
    ended = wait_for_end(release, room)
    assert ended["status"]["phase"] == "Ended", ended["status"]
    rows = rows_of(release, room)
    calls = [row["tool"]["name"] for row in rows if row["kind"] == "tool_call"]
    results = [row for row in rows if row["kind"] == "tool_result"]
    assert {"read_menu", "add_pizza", "finish_order"} <= set(calls), calls
    assert len(results) >= 3
    assert any(row["kind"] == "handoff" for row in rows)
    spoken = words(" ".join(row["content"] or "" for row in rows if row["role"] == "assistant"))
    assert "margherita" in spoken
    # The second agent's own first words: the handoff happened.
    assert "send" in spoken


SHOP = """
import os
from livekit.agents import Agent

class Clerk(Agent):
    def __init__(self):
        super().__init__(instructions=open("/etc/acme/instructions").read())

    async def on_enter(self):
        self.session.say(f"Welcome to {os.environ['SHOP']} in {os.environ['TOWN']}.")
"""


async def test_an_agent_has_its_code_its_files_and_a_secrets_value_from_its_pool(
    release: Release, front_door: str
) -> None:
    release.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop"}, "stringData": {"SHOP": "Bella Napoli"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "town"}, "data": {"name": "Hamburg"}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "clerk"},
            "data": {"clerk.py": SHOP, "instructions": "You sell pizza."},
        },
    )
    given: dict[str, Any] = {
        "env": [{"name": "TOWN", "valueFrom": {"configMapKeyRef": {"name": "town", "key": "name"}}}],
        "envFrom": [{"secretRef": {"name": "shop"}}],
        "volumes": [{"name": "clerk", "configMap": {"name": "clerk"}}, {"name": "cache", "emptyDir": {}}],
        "volumeMounts": [
            {"name": "clerk", "mountPath": "/app/acme"},
            {"name": "clerk", "mountPath": "/etc/acme/instructions", "subPath": "instructions"},
            {"name": "cache", "mountPath": "/app/.cache"},
        ],
    }
    with pool_with_code(release, "clerk", "acme.clerk:Clerk", **given):
        release.wait_until_ready(Step("clerk"), timeout=120)
        connection = ask_for_connection(front_door, profile="clerk")
        async with joined_room(connection.server_url, connection.token) as customer:
            await customer.answer(customer.connect_began_at)
        wait_for_end(release, connection.room)
    said = [row["content"] for row in rows_of(release, connection.room) if row["role"] == "assistant"]
    assert "Bella Napoli in Hamburg" in said[0]


def wait_for_reason(release: Release, pool: str, reason: str) -> str:
    """Returns what a pool says once its condition has this reason."""
    release.kubectl(
        *("wait", f"agentpool/{pool}", "--timeout=90s"),
        f"--for=jsonpath={{.status.conditions[?(@.type=='Ready')].reason}}={reason}",
        timeout=100,
    )
    conditions = release.get("agentpool", pool)["status"]["conditions"]
    return str(next(one["message"] for one in conditions if one["type"] == "Ready"))


MISSPELT: Mapping[str, dict[str, Any]] = {
    "key": {"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "vendros", "key": "x"}}}]},
    "variables": {"envFrom": [{"configMapRef": {"name": "vendros"}}]},
    "volume": {
        "volumes": [{"name": "v", "secret": {"secretName": "vendros"}}],
        "volumeMounts": [{"name": "v", "mountPath": "/etc/vendors"}],  # else the kubelet passes it over
    },
}


def test_a_misspelt_secret_is_named_by_the_pool(release: Release) -> None:
    with contextlib.ExitStack() as pools:
        for name, given in MISSPELT.items():
            pools.enter_context(pool_with_code(release, f"misspelt-{name}", "pizza", **given))
        # A volume's message is at first only that the Secret did not come in time.
        told = {name: wait_for_reason(release, f"misspelt-{name}", "PodConfigInvalid") for name in MISSPELT}
    assert [name for name, message in told.items() if "vendros" not in message] == []


def test_code_that_does_not_import_is_told_by_the_pool(release: Release) -> None:
    with pool_with_code(release, "broken", "pizza:Missing"):
        assert "Missing" in wait_for_reason(release, "broken", "CodeImportFailed")
