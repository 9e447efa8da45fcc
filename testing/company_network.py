"""A company's network: TLS by an authority of its own before a server, and a proxy, the only one that finds it.

The server may also stand where others' servers do: whoever asks the proxy for their addresses then gets to this one.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local_cluster.pki import Authority
from local_cluster.ports import LOOPBACK
from testing.tasks import Tasks

# A name that no DNS knows.
HOST = "models.company.test"


@dataclass
class CompanyNetwork:
    """What a client must be told, and what has come. `authority`: its certificate."""

    authority: Path
    proxy_port: int = 0
    asked: list[str] = field(default_factory=list)  # what the proxy was asked to connect to

    @property
    def base_url(self) -> str:
        """Where the server's API is."""
        return f"https://{HOST}/v1"

    @property
    def environment(self) -> dict[str, Any]:
        """By what a program finds its way here."""
        return {"HTTPS_PROXY": f"http://127.0.0.1:{self.proxy_port}", "SSL_CERT_FILE": str(self.authority)}


@contextlib.asynccontextmanager
async def company_network(
    server_port: int, folder: Path, hosts: Sequence[str] = (HOST,)
) -> AsyncIterator[CompanyNetwork]:
    """Has the server at this port of loopback be each of `hosts`, for who asks the proxy and trusts the authority."""
    authority = Authority(folder)
    identity = authority.issue("server", hosts[0], hosts=hosts)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.certificate, identity.key)
    network, connections = CompanyNetwork(authority.certificate), Tasks()
    targets = {f"{host}:443" for host in hosts}

    def unwrap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.start(_forward(reader, writer, server_port))

    def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.start(_serve_connect(reader, writer, network, targets, tls_port))

    tls = await asyncio.start_server(unwrap, "127.0.0.1", 0, ssl=context)
    tls_port = tls.sockets[0].getsockname()[1]
    proxy = await asyncio.start_server(connect, "127.0.0.1", 0)
    network.proxy_port = proxy.sockets[0].getsockname()[1]
    try:
        yield network
    finally:
        proxy.close()
        tls.close()
        await connections.cancel()


async def _serve_connect(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    network: CompanyNetwork,
    targets: Collection[str],
    tls_port: int,
) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    method, target, _ = head.decode().split(" ", maxsplit=2)
    network.asked.append(target)
    near = urlsplit(target)
    if near.scheme in {"http", "ws"} and near.hostname == LOOPBACK:
        # Not TLS, so not tunnelled: a plugin's session goes by the proxy to the test's own servers too.
        await _forward(reader, writer, near.port or 80, head.replace(f"{near.scheme}://{near.netloc}".encode(), b"", 1))
        return
    if method != "CONNECT" or target not in targets:
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        writer.close()
        return
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await _forward(reader, writer, tls_port)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, head: bytes = b"") -> None:
    writers = [writer]
    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(far_writer)
        far_writer.write(head)
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
    finally:
        for each in writers:
            each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
