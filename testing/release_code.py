"""Has a release run the code of a team: a pool and a profile whose pods have the example image, and its customer."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from local_cluster.handout import IMAGES_JSON
from testing.customer import Customer
from testing.release import Release
from voicesession.names import API_VERSION

SENTENCES = ("What is on the menu?", "Please add the pizza called salami.", "Please finish the order.")


@contextmanager
def pool_with_code(release: Release, name: str, code: str, **fields: Any) -> Iterator[None]:
    """Gives the release a pool and a profile of this name, whose pods run `code` of the example image.

    `fields`: further ones of the pool's spec, or in place of ours.
    """
    references = json.loads(IMAGES_JSON.read_text())
    default = release.get("agentpool", "default")["spec"]
    spec: dict[str, Any] = {
        "image": references["example-agents"],
        "code": code,
        "providers": default["providers"],
        "warm": {"min": 1, "max": 3},
        **fields,
    }
    release.apply(
        {"apiVersion": API_VERSION, "kind": "AgentPool", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": API_VERSION, "kind": "AgentProfile", "metadata": {"name": name}, "spec": {"pool": name}},
    )
    try:
        yield
    finally:
        release.kubectl("delete", f"agentprofile/{name}", f"agentpool/{name}", "--wait=false")


async def order_a_pizza(customer: Customer, speech: Sequence[bytes]) -> None:
    """Asks for the menu, a pizza and the bill. `speech`: SENTENCES, spoken."""
    await customer.answer(customer.connect_began_at)
    for samples in speech:
        await customer.ask(samples, timeout=60)
