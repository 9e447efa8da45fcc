"""The tool servers of a call: found by name, connected at once, tried again, their tools for every agent."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from livekit.agents import Agent, AgentSession
from livekit.agents.llm import Tool, Toolset, function_tool

from testing.waiting import eventually
from voice_agent import mcp_tools
from voice_agent.mcp_tools import CallTools, KnownServer, McpSetupError, McpShelf
from voicesession.mcp_keys import list_server_keys
from voicesession.models import Header, McpServer, PlainHeader, PoolMcpServer, SecretRef

BOOKINGS = PoolMcpServer(
    name="bookings",
    url="https://b.example/mcp",
    secret_ref=SecretRef(name="b"),
    headers=[Header(name="X-Branch", value="7"), Header(name="X-Api-Key", secret_ref=SecretRef(name="c"))],
)
SECRETS = {"_mcp.bookings": "sk-1", "_mcp.bookings.X-Api-Key": "sk-2"}


def shelf(secrets: dict[str, str]) -> McpShelf:
    return McpShelf([BOOKINGS], lambda folder: secrets.get(folder, ""))


def test_the_folders_are_those_that_a_pod_has() -> None:
    assert [(key.folder, key.secret_ref.name) for key in list_server_keys(BOOKINGS)] == [
        ("_mcp.bookings", "b"),
        ("_mcp.bookings.X-Api-Key", "c"),
    ]


def test_a_profile_s_own_server_gets_no_key_whatever_its_name() -> None:
    own = McpServer(name="bookings", url="https://evil.example/mcp", headers=[PlainHeader(name="A", value="1")])
    found = shelf(SECRETS).find(own)
    assert (found.url, found.headers) == ("https://evil.example/mcp", {"A": "1"})


def test_a_server_of_the_pools_is_found_with_its_keys() -> None:
    found = shelf(SECRETS).find(McpServer(name="bookings"))
    assert found.url == "https://b.example/mcp"
    assert found.headers == {"X-Branch": "7", "X-Api-Key": "sk-2", "Authorization": "Bearer sk-1"}
    assert "sk-" not in repr(found)


@pytest.mark.parametrize("folder", SECRETS)
def test_a_server_without_one_of_its_keys_is_not_asked(folder: str) -> None:
    with pytest.raises(McpSetupError, match="a key of the tool server 'bookings'"):
        shelf({**SECRETS, folder: ""}).find(McpServer(name="bookings"))


def test_a_server_that_nobody_describes() -> None:
    with pytest.raises(McpSetupError, match="'menu', which its pool does not have"):
        shelf(SECRETS).find(McpServer(name="menu"))


@pytest.mark.parametrize(
    ("server", "uses_sse"),
    [
        (McpServer(name="a", url="http://a/mcp"), False),
        (McpServer(name="a", url="http://a/sse/"), True),
        (McpServer(name="a", url="http://a/sse", transport="streamable-http"), False),
        (McpServer(name="a", url="http://a/", transport="sse"), True),
    ],
)
def test_how_a_server_is_spoken_to(server: McpServer, uses_sse: bool) -> None:
    assert shelf({}).find(server).uses_sse is uses_sse


class Connection:
    """A server that is there at the try of this number, or never answers."""

    tools: ClassVar[dict[str, list[str]]] = {}
    there_at: ClassVar[dict[str, int]] = {}
    made: ClassVar[list["Connection"]] = []

    def __init__(self, server: KnownServer) -> None:
        self.name = server.name
        self.tries = 0
        self.closed = False
        Connection.made.append(self)

    async def connect(self) -> list[Tool]:
        self.tries += 1
        there_at = self.there_at.get(self.name, 1)
        if there_at == 0:
            await asyncio.Event().wait()
        if self.tries < there_at:
            raise ConnectionError("away")
        return [tool_named(name) for name in self.tools[self.name]]

    async def aclose(self) -> None:
        self.closed = True


def tool_named(name: str) -> Tool:
    async def answer(raw_arguments: dict[str, Any]) -> str:
        return name

    schema = {"name": name, "description": name, "parameters": {"type": "object", "properties": {}}}
    return function_tool(answer, raw_schema=schema)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., CallTools]:
    """Serves tools by server to a session that begins with an agent of these tools."""
    monkeypatch.setattr(mcp_tools, "import_client", lambda: SimpleNamespace(McpConnection=Connection))
    monkeypatch.setattr(mcp_tools, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(Connection, "made", [])

    def serve(
        tools: dict[str, list[str]], there_at: dict[str, int] | None = None, own: list[Tool | Toolset] | None = None
    ) -> CallTools:
        monkeypatch.setattr(Connection, "tools", tools)
        monkeypatch.setattr(Connection, "there_at", there_at or {})
        servers = [McpServer(name=name, url=f"http://{name}" if tools[name] else None) for name in tools]
        made = CallTools(shelf({}).find, servers)
        made.serve(AgentSession(tools=[made]), Agent(instructions="x", tools=own))
        return made

    return serve


def names(tools: CallTools) -> list[str]:
    return [tool.id for tool in tools.tools]


async def test_a_server_that_hangs_keeps_nobody_s_tools_away(serve: Callable[..., CallTools]) -> None:
    tools = serve({"hangs": ["a"], "menu": ["b", "c"]}, {"hangs": 0})
    assert names(tools) == []
    await eventually(lambda: names(tools) == ["b", "c"])
    await tools.aclose()
    assert [connection.closed for connection in Connection.made] == [True, True]


async def test_a_server_that_comes_later_is_found(serve: Callable[..., CallTools]) -> None:
    tools = serve({"late": ["a"], "menu": ["b"]}, {"late": 4})
    await eventually(lambda: names(tools) == ["a", "b"])
    await tools.aclose()


async def test_a_name_is_the_agents_own_or_the_first_servers(serve: Callable[..., CallTools]) -> None:
    tools = serve({"one": ["search", "book"], "two": ["search", "pay"]}, own=[tool_named("book")])
    await eventually(lambda: names(tools) == ["search", "pay"])
    await tools.aclose()


async def test_a_profile_that_names_an_unknown_server_has_the_others(
    serve: Callable[..., CallTools], caplog: pytest.LogCaptureFixture
) -> None:
    tools = serve({"not of the pool": [], "menu": ["a"]})
    await eventually(lambda: names(tools) == ["a"])
    assert "a tool server cannot be used" in caplog.text
    await tools.aclose()


async def test_servers_are_connected_once_though_the_session_comes_later(serve: Callable[..., CallTools]) -> None:
    tools = serve({"menu": ["a"]})
    tools.connect()
    await eventually(lambda: names(tools) == ["a"])
    tools.serve(AgentSession(tools=[tools]), Agent(instructions="x", tools=[tool_named("a")]))
    assert names(tools) == [], "the agent's own of this name counts"
    assert len(Connection.made) == 1
    await tools.aclose()
