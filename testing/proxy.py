"""A TCP proxy on loopback that can be cut: what stands behind it is then away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml


class Proxy:
    """Forwards to a port of loopback. While it is cut it refuses, and what was open is broken."""

    def __init__(self, target_port: int) -> None:
        """`port` is known once it is open, and stays the same."""
        self.port = 0
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Listens."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuses connections and breaks the open ones."""
        if self._server:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, far_writer}
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._writers -= {writer, far_writer}


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
    config = yaml.safe_load(kubeconfig.read_text())  # noqa: ASYNC240 - a small file of a test
    cluster = config["clusters"][0]["cluster"]
    async with open_proxy(urlsplit(cluster["server"]).port or 0) as proxy:
        cluster["server"] = f"https://127.0.0.1:{proxy.port}"
        path = folder / "proxied-kubeconfig"
        path.write_text(yaml.safe_dump(config))
        yield proxy, path


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
