"""Which Secrets a pool's tool servers are asked with, and where a pod finds them. Pure."""

from collections.abc import Iterator

from voicesession.models import Header, PoolMcpServer
from voicesession.provider_keys import ProviderKey


def list_server_keys(server: PoolMcpServer) -> Iterator[ProviderKey]:
    """Yields the keys that a pod of this server's pool is given, headers' among them: a mount for each."""
    # No part of a provider is called so, and no server's name begins with a hyphen.
    if server.secret_ref:
        yield ProviderKey(server_folder(server), f"key--mcp-{server.name}", server.secret_ref)
    for number, header in enumerate(server.headers or []):
        if header.secret_ref:
            yield ProviderKey(header_folder(server, header), f"key--mcp--{number}-{server.name}", header.secret_ref)


def server_folder(server: PoolMcpServer) -> str:
    """Returns the folder of a server's key; no provider's name has an underscore."""
    return f"_mcp.{server.name}"


def header_folder(server: PoolMcpServer, header: Header) -> str:
    """Returns the folder of a header's value, where it is a Secret's."""
    return f"{server_folder(server)}.{header.name}"
