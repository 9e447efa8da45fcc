"""One MCP server, as long as a call lasts: connected again when it was away. Imports MCP's client: 0.5 s and 20 MB."""

import asyncio
import contextlib
import logging
import time
from typing import Any

from livekit.agents.llm import RawFunctionTool, ToolError, function_tool
from livekit.agents.llm.mcp import MCPServerHTTP
from livekit.agents.llm.tool_context import get_raw_function_info
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST, REQUEST_TIMEOUT

from voice_agent.mcp_tools import KnownServer

CONNECT_SECONDS = 10.0
PING_SECONDS = 3.0
# A connection that answered just now is not asked again.
FRESH_SECONDS = 5.0
_CLOSE_SECONDS = 2.0

log = logging.getLogger(__name__)

Tool = RawFunctionTool[Any, Any]


class McpConnection(MCPServerHTTP):
    """The server, its tools, and a way back to it."""

    def __init__(self, server: KnownServer) -> None:
        """Knows where it is; `connect` goes there."""
        super().__init__(
            server.url,
            transport_type="sse" if server.uses_sse else "streamable_http",
            headers=dict(server.headers),
            timeout=CONNECT_SECONDS,
            client_session_timeout_seconds=server.timeout_seconds,
        )
        self._name = server.name
        self._seconds = server.timeout_seconds
        self._answered_at = 0.0
        self._connecting = asyncio.Lock()

    async def connect(self) -> list[Tool]:
        """Connects, anew where it was connected; returns the server's tools.

        Raises:
            Exception: the server cannot be reached, or does not let us in.
        """
        async with asyncio.timeout(CONNECT_SECONDS):
            await self.disconnect()
            self.invalidate_cache()
            await self.initialize()
            tools = await self.list_tools()
        self._answered_at = time.monotonic()
        return [self._wrap(tool) for tool in tools]

    async def disconnect(self) -> None:
        """Lets the connection go, whatever state it is in."""
        task = self._client_task
        if task is not None:
            task.cancel()
            await asyncio.wait({task}, timeout=_CLOSE_SECONDS)
            if task.done() and not task.cancelled():
                task.exception()  # it was told when it came

    async def is_alive(self) -> bool:
        """Asks the server whether it still knows us."""
        client = self._client
        if client is None:
            return False
        if time.monotonic() - self._answered_at < FRESH_SECONDS:
            return True
        try:
            async with asyncio.timeout(PING_SECONDS):
                await client.send_ping()
        except MCPError as error:
            # Whatever else it answers: it answers.
            if error.code in {CONNECTION_CLOSED, REQUEST_TIMEOUT, INVALID_REQUEST}:
                return False
        except TimeoutError:
            return False
        self._answered_at = time.monotonic()
        return True

    async def ensure(self) -> None:
        """Returns once it is connected.

        Raises:
            ToolError: it is away; words for the model.
        """
        async with self._connecting:
            if await self.is_alive():
                return
            log.warning("an MCP server is lost; connecting again", extra={"server": self._name})
            try:
                await self.connect()
            except Exception as error:
                log.warning("an MCP server is away", extra={"server": self._name, "error": type(error).__name__})
                raise ToolError("The tool cannot be reached at the moment. Nothing was done.") from error

    def _wrap(self, tool: Tool) -> Tool:
        info = get_raw_function_info(tool)

        async def call(raw_arguments: dict[str, Any]) -> Any:
            try:
                return await self._ask(tool, raw_arguments)
            except MCPError as error:
                if error.code != INVALID_REQUEST:
                    raise ToolError(self._tell(error)) from error
            # One that was started again does not know the session: it has done nothing, and is asked in a new one.
            self._answered_at = 0.0
            try:
                return await self._ask(tool, raw_arguments)
            except MCPError as error:
                raise ToolError(self._tell(error)) from error

        return function_tool(call, raw_schema=info.raw_schema, flags=info.flags)

    async def _ask(self, tool: Tool, raw_arguments: dict[str, Any]) -> Any:
        await self.ensure()
        answer = await tool(raw_arguments=raw_arguments)
        self._answered_at = time.monotonic()
        return answer

    def _tell(self, error: MCPError) -> str:
        """Returns what the model is told of a call that broke off: the server may have done its work."""
        extra = {"server": self._name, "code": error.code}
        log.warning("a call of an MCP server's tool failed", extra=extra)
        self._answered_at = 0.0
        if error.code == REQUEST_TIMEOUT:
            return f"The tool did not answer within {self._seconds} seconds. Whether it has done its work is not known."
        if error.code == CONNECTION_CLOSED:
            return "The connection to the tool broke. Whether it has done its work is not known."
        return f"The tool refused: {error.message}"

    async def aclose(self) -> None:
        """Disconnects for good."""
        with contextlib.suppress(Exception):
            await self.disconnect()
