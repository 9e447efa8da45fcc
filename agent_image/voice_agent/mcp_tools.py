"""The tool servers of a call: connected all at once, beside the call, their tools for every agent of its session."""

import asyncio
import contextlib
import importlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import Agent, AgentSession
from livekit.agents.llm import RealtimeModel, Tool, Toolset
from livekit.agents.llm.tool_context import get_fnc_tool_names

from voicesession.mcp_keys import server_folder
from voicesession.models import McpServer, PoolMcpServer
from voicesession.provider_keys import header_folder

_CLIENT = "voice_agent.mcp_connection"
# Between two tries to reach a server that has not been there yet.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0

log = logging.getLogger(__name__)


class McpSetupError(Exception):
    """A profile names a tool server that nobody describes; the message says which."""


@dataclass(frozen=True)
class KnownServer:
    """A server that can be connected: where it is, how it is spoken to, and what is sent with each request."""

    name: str
    url: str
    uses_sse: bool
    timeout_seconds: int
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class McpShelf:
    """The servers that a pool describes. read_secret: what the Secret of a folder has now, or nothing."""

    servers: Sequence[PoolMcpServer]
    read_secret: Callable[[str], str]

    def find(self, wanted: McpServer) -> KnownServer:
        """Returns what a profile's entry means: a server of its own, or by its name one of the pool's.

        Raises:
            McpSetupError: the pool has none of this name, or a key of it is not there.
        """
        if wanted.url is not None:
            headers = {header.name: header.value for header in wanted.headers or []}
            return _describe(wanted, wanted.url, headers)
        server = next((server for server in self.servers if server.name == wanted.name), None)
        if server is None:
            raise McpSetupError(f"the profile names the tool server {wanted.name!r}, which its pool does not have")
        headers = {
            header.name: header.value or self._read(server, header_folder(server_folder(server), header))
            for header in server.headers or []
        }
        if server.secret_ref:
            headers["Authorization"] = f"Bearer {self._read(server, server_folder(server))}"
        return _describe(server, server.url, headers)

    def _read(self, server: PoolMcpServer, folder: str) -> str:
        key = self.read_secret(folder)
        if not key:
            raise McpSetupError(f"a key of the tool server {server.name!r} is missing")
        return key


def _describe(server: McpServer | PoolMcpServer, url: str, headers: Mapping[str, str]) -> KnownServer:
    uses_sse = server.transport == "sse" or (server.transport is None and url.rstrip("/").endswith("/sse"))
    return KnownServer(server.name, url, uses_sse, server.timeout_seconds, headers)


class CallTools(Toolset):
    """All tools of a call's servers: of those that have been reached so far."""

    def __init__(self, find: Callable[[McpServer], KnownServer], servers: Sequence[McpServer]) -> None:
        """Knows the servers; `connect` connects them."""
        super().__init__(id="tool-servers")
        self._find = find
        self._servers = servers
        self._offers: dict[str, list[Tool | Toolset]] = {}
        self._connections: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._session: AgentSession[Any] | None = None
        self._first: Agent | None = None

    @property
    def tools(self) -> Sequence[Tool | Toolset]:
        """The tools, each name once: the agent's own come first, then the servers' as the profile lists them."""
        agent = self._agent()
        taken = set(get_fnc_tool_names(agent.tools)) if agent is not None else set()
        found: list[Tool | Toolset] = []
        for server in self._servers:
            for tool in self._offers.get(server.name, []):
                if tool.id not in taken:
                    taken.add(tool.id)
                    found.append(tool)
        return found

    def connect(self) -> None:
        """Starts to connect all servers, beside whatever goes on; again changes nothing."""
        self._tasks = self._tasks or [asyncio.create_task(self._connect_all(), name="tool servers")]

    def serve(self, session: AgentSession[Any], first: Agent) -> None:
        """Is for this session from now on. `first`: with whom it is to begin."""
        self._session, self._first = session, first
        self.connect()

    def _agent(self) -> Agent | None:
        if self._session is not None:
            with contextlib.suppress(RuntimeError):  # it does not run yet
                return self._session.current_agent
        return self._first

    async def setup(self) -> "CallTools":
        """As a session asks it of its tools; nobody waits for a server."""
        return self

    async def aclose(self) -> None:
        """Lets all servers go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(connection.aclose() for connection in self._connections))

    async def _connect_all(self) -> None:
        # Off the event loop: half a second.
        client = await asyncio.to_thread(import_client)
        async with asyncio.TaskGroup() as group:
            for server in self._servers:
                group.create_task(self._connect(client, server))

    async def _connect(self, client: Any, server: McpServer) -> None:
        """Tries until the server has told its tools. From then on a tool that is called sees to its connection."""
        try:
            known = self._find(server)
        except McpSetupError as error:
            log.error("a tool server cannot be used", extra={"server": server.name, "reason": str(error)})  # noqa: TRY400
            return
        connection = client.McpConnection(known)
        self._connections.append(connection)
        pause = FIRST_PAUSE
        while server.name not in self._offers:
            try:
                self._offers[server.name] = await connection.connect()
            except Exception as error:
                extra = {"server": server.name, "error": type(error).__name__}
                log.warning("the tools of an MCP server are missing; it is tried again", extra=extra)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        log.info("the tools of an MCP server are there", extra={"server": server.name})
        await self._tell_realtime_model()

    async def _tell_realtime_model(self) -> None:
        """A realtime model is told tools as they change; a chat model is told them with each question."""
        if self._session is None or not isinstance(self._session.llm, RealtimeModel):
            return
        with contextlib.suppress(RuntimeError):  # it does not run yet, and will be told as it begins
            agent = self._session.current_agent
            await agent.update_tools(agent.tools)


def has_client() -> bool:
    """Tells whether MCP's client is imported already."""
    return _CLIENT in sys.modules


def import_client() -> Any:
    """Returns the module with MCP's client, which is imported only where there are servers: half a second, 20 MB."""
    return importlib.import_module(_CLIENT)
