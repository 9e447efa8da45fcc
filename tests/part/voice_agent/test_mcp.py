"""Tools of real MCP servers in a call: with the pool's key, for each agent, and over a restart of the server."""

import json
from pathlib import Path
from typing import Any

import pytest

from testing.agent_pod import build_assignment, build_provider, running_pod
from testing.customer import Customer, joined_room
from testing.fake_openai import FakeOpenAI
from testing.livekit import LiveKitServer, new_room
from testing.mcp_server import running_tables_server
from voicesession.mcp_keys import server_folder
from voicesession.models import AgentProfileSpec, Header, McpServer, PoolMcpServer, SecretRef
from voicesession.provider_keys import header_folder

KEY = "sk-of-the-tables"
GREETING = "Hello there."
CODE = """
from livekit.agents import Agent, function_tool

class Host(Agent):
    def __init__(self): super().__init__(instructions="a host")

    @function_tool
    async def call_colleague(self):
        "Pass the customer on"
        return Colleague(), "One moment."

class Colleague(Agent):
    def __init__(self): super().__init__(instructions="a colleague")
    async def on_enter(self): self.session.say("Colleague speaking.")
"""


async def until_offered(customer: Customer, fake: FakeOpenAI, tool: str) -> None:
    """Types until the model is offered the tool: servers are connected beside the greeting."""
    for attempt in range(10):
        await customer.type(f"ready {attempt}?")
        await customer.until_said(f"You said: ready {attempt}?.")
        offered: list[dict[str, Any]] = fake.chats[-1].get("tools", [])
        if tool in {each["function"]["name"] for each in offered}:
            return
    pytest.fail(f"{tool} was never offered")


async def ask_for_tables(customer: Customer, day: str) -> None:
    await customer.type(f'please use free_tables with {{"day": "{day}"}}')
    answer = f"Two tables on {day}."
    await customer.until(lambda: any(answer in heard.text for heard in customer.heard.transcripts), 20, "the answer")


async def test_tools_of_the_pools_server_for_each_agent_and_over_its_restart(
    livekit: LiveKitServer, fake: FakeOpenAI, tmp_path: Path
) -> None:
    (tmp_path / "acme.py").write_text(CODE)
    room = new_room()
    wanted = [McpServer(name="absent", url="http://127.0.0.1:1/mcp"), McpServer(name="tables")]
    profile = AgentProfileSpec(greeting=GREETING, mcp_servers=wanted)
    with running_tables_server(tmp_path, wants=("X-Api-Key", KEY)) as server:
        header = Header(name="X-Api-Key", secret_ref=SecretRef(name="tables"))
        described = PoolMcpServer(name="tables", url=server.url, headers=[header])
        async with running_pod(
            [build_provider(fake.base_url)],
            {header_folder(server_folder(described), header): KEY},
            AGENT_CODE="acme:Host",
            WORKING_FOLDER=str(tmp_path),
            AGENT_MCP_SERVERS=json.dumps([described.to_wire()]),
        ) as pod:
            await pod.assign(build_assignment(livekit, room, profile))
            async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
                await customer.until_said(GREETING)
                await until_offered(customer, fake, "free_tables")
                await ask_for_tables(customer, "Friday")
                await customer.type("please use call_colleague with {}")
                await customer.until_said("Colleague speaking.")
                await ask_for_tables(customer, "Saturday")
                server.kill()
                server.start()
                # At once: within seconds of its last answer the connection is not asked first.
                await customer.type("are you there")
                await customer.until_said("You said: are you there.")
                await ask_until_answered(customer, "Sunday")
            assert "absent" in [line.get("server") for line in pod.lines]
            assert KEY not in pod.log


async def ask_until_answered(customer: Customer, day: str) -> None:
    """Asks again where the first question found the connection broken, as a model does that is told so."""
    await customer.type(f'please use free_tables with {{"day": "{day}"}}')
    said = (f"Two tables on {day}.", "The connection to the tool broke.")
    await customer.until(
        lambda: any(text in heard.text for heard in customer.heard.transcripts for text in said), 20, "an answer"
    )
    if not any(said[0] in heard.text for heard in customer.heard.transcripts):
        await ask_for_tables(customer, day)
