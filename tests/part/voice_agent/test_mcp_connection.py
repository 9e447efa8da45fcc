"""A connection to a real MCP server: its key, its time, and the way back to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit.agents.llm import ToolError

from testing.mcp_server import TablesServer, running_tables_server
from testing.waiting import eventually
from voice_agent import mcp_connection
from voice_agent.mcp_connection import McpConnection
from voice_agent.mcp_tools import KnownServer

KEY = "sk-tables"


def known(server: TablesServer, headers: dict[str, str], timeout_seconds: int = 60) -> KnownServer:
    return KnownServer("tables", server.url, server.transport == "sse", timeout_seconds, headers)


@asynccontextmanager
async def connected(server: TablesServer, **fields: Any) -> AsyncIterator[dict[str, Any]]:
    """Yields a server's tools by their names."""
    connection = McpConnection(known(server, dict([server.wants] if server.wants else []), **fields))
    try:
        yield {tool.id: tool for tool in await connection.connect()}
    finally:
        await connection.aclose()


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
async def test_a_server_that_starts_again_is_found_again(
    tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_connection, "FRESH_SECONDS", 0.0)
    with running_tables_server(tmp_path, transport=transport) as server:
        async with connected(server) as tools:
            assert set(tools) == {"free_tables", "book_slowly"}
            assert "Two tables on Friday." in await tools["free_tables"](raw_arguments={"day": "Friday"})
            server.kill()
            with pytest.raises(ToolError, match="cannot be reached at the moment"):
                await tools["free_tables"](raw_arguments={"day": "Friday"})
            server.start()
            assert "Two tables on Monday." in await tools["free_tables"](raw_arguments={"day": "Monday"})


async def test_a_tool_has_the_time_that_the_profile_gives_it_and_the_model_is_told_the_truth(tmp_path: Path) -> None:
    with running_tables_server(tmp_path) as server:
        async with connected(server, timeout_seconds=1) as tools:
            with pytest.raises(ToolError, match=r"within 1 seconds\. Whether it has done its work is not known"):
                await tools["book_slowly"](raw_arguments={"name": "ada", "seconds": 30})
            assert "Two tables" in await tools["free_tables"](raw_arguments={"day": "Friday"})
        async with connected(server) as tools:
            answer = await tools["book_slowly"](raw_arguments={"name": "eve", "seconds": 6})
            assert "A table for eve." in answer, "livekit-agents' own limit is 5 seconds"
        assert server.bookings == ["ada", "eve"]


async def test_a_server_that_dies_in_a_call_is_not_asked_again_by_itself(tmp_path: Path) -> None:
    with running_tables_server(tmp_path) as server:
        async with connected(server) as tools:
            call = asyncio.create_task(tools["book_slowly"](raw_arguments={"name": "ada", "seconds": 30}))
            await eventually(lambda: server.bookings)
            server.kill()
            with pytest.raises(ToolError, match="Whether it has done its work is not known"):
                await call
            server.start()
            assert "Two tables" in await tools["free_tables"](raw_arguments={"day": "Friday"})
        assert server.bookings == ["ada"]


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
async def test_a_server_that_wants_a_key_gets_it_with_each_request(tmp_path: Path, transport: str) -> None:
    wants = ("Authorization", f"Bearer {KEY}")
    with running_tables_server(tmp_path, transport=transport, wants=wants) as server:
        async with connected(server) as tools:
            assert "Two tables" in await tools["free_tables"](raw_arguments={"day": "Friday"})
        refused = McpConnection(known(server, {}))
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever MCP's client raises for a 401
            await refused.connect()
        await refused.aclose()
