"""A TCP proxy on loopback that can be cut, or hang: what stands behind it is then away, or answers nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from testing.tasks import Tasks


class Proxy:
    """Forwards to a port of loopback. While it is cut it refuses, and what was open is broken.

    While it hangs it takes connections and whatever is sent, and passes it on when it goes on.
    """

    def __init__(self, target_port: int) -> None:
        """`port` is known once it is open, and stays the same."""
        self.port = 0
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._connections = Tasks()
        self._flows = asyncio.Event()
        self._flows.set()

    async def open(self) -> None:
        """Listens."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuses connections and breaks the open ones."""
        if self._server:
            self._server.close()
        await self._connections.cancel()

    def hang(self) -> None:
        """Passes nothing on until `go_on`."""
        self._flows.clear()

    def go_on(self) -> None:
        """Passes on what has come meanwhile, and everything else."""
        self._flows.set()

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.start(self._forward(reader, writer))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            writers.append(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except (asyncio.CancelledError, OSError):
            for each in writers:
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        await self._flows.wait()
        writer.close()


@contextlib.asynccontextmanager
async def open_proxy(target_port: int) -> AsyncIterator[Proxy]:
    """Opens a proxy and cuts it at the end."""
    proxy = Proxy(target_port)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.cut()


@contextlib.asynccontextmanager
async def proxied_api_server(kubeconfig: Path, folder: Path) -> AsyncIterator[tuple[Proxy, Path]]:
    """Opens a proxy before the API server of `kubeconfig`; yields it and a kubeconfig that leads through it."""
    async with open_proxy(port_of_api_server(kubeconfig)) as proxy:
        yield proxy, write_proxied_kubeconfig(kubeconfig, proxy.port, folder)


def port_of_api_server(kubeconfig: Path) -> int:
    """Returns the port of the API server that a kubeconfig leads to."""
    return urlsplit(yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]).port or 0


def write_proxied_kubeconfig(kubeconfig: Path, port: int, folder: Path) -> Path:
    """Writes a kubeconfig into `folder` that is as another one, but leads to this port of loopback."""
    config = yaml.safe_load(kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    path = folder / "proxied-kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path
