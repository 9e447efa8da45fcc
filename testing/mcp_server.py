"""A real MCP server in a process of its own, which can be ended and started again: a restaurant's tables."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer

from local_cluster.ports import LOOPBACK, free_port, listens
from testing.code_path import PYTHONPATH
from testing.waiting import until_started


@dataclass
class TablesServer:
    """The server. `wants`: a header and its value, without which it answers 401."""

    folder: Path
    transport: str = "streamable-http"
    wants: tuple[str, str] | None = None
    port: int = field(default_factory=free_port)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{self.port}/{'sse' if self.transport == 'sse' else 'mcp'}"

    @property
    def bookings(self) -> list[str]:
        """What was booked, whatever was answered."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "bookings").read_text().split()
        return []

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        command = [sys.executable, "-m", "testing.mcp_server", str(self.port), self.transport, str(self.folder)]
        log = self.folder / "mcp.log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [*command, *(self.wants or ())],
                stdout=file,
                stderr=file,
                env={**os.environ, "PYTHONPATH": PYTHONPATH},
            )
        until_started(self._process, lambda: listens(self.port), log, 60)

    def kill(self) -> None:
        """Ends it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def running_tables_server(folder: Path, **fields: Any) -> Iterator[TablesServer]:
    """Yields a running one."""
    server = TablesServer(folder, **fields)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _build(folder: Path) -> MCPServer:
    server = MCPServer("tables")

    @server.tool()
    def free_tables(day: str) -> str:
        """Which tables are free"""
        return f"Two tables on {day}."

    @server.tool()
    async def book_slowly(name: str, seconds: float) -> str:
        """Book a table, which takes a while"""
        with (folder / "bookings").open("a") as file:
            file.write(f"{name}\n")
        await anyio.sleep(seconds)
        return f"A table for {name}."

    return server


def _guard(app: Any, header: str, value: str) -> Any:
    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        sent = dict(scope.get("headers", ()))
        if scope["type"] == "http" and sent.get(header.lower().encode()) != value.encode():
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    return guarded


def main() -> None:
    """Serves until it is ended."""
    port, transport, folder, *wants = sys.argv[1:]
    server = _build(Path(folder))
    app: Any = server.sse_app() if transport == "sse" else server.streamable_http_app()
    uvicorn.run(_guard(app, *wants) if wants else app, host=LOOPBACK, port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
