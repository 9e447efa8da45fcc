"""Which Secrets a pool's tool servers are asked with, and where a pod finds them. Pure."""

from collections.abc import Iterator

from voicesession.models import PoolMcpServer
from voicesession.provider_keys import ProviderKey, list_own_keys


def list_server_keys(server: PoolMcpServer) -> Iterator[ProviderKey]:
    """Yields the keys that a pod of this server's pool is given, headers' among them: a mount for each."""
    # No part of a provider is called so, and no server's name begins with a hyphen.
    return list_own_keys(server, "mcp", server.name, server_folder(server))


def server_folder(server: PoolMcpServer) -> str:
    """Returns the folder of a server's key; no provider's name has an underscore."""
    return f"_mcp.{server.name}"
