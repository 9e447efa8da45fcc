"""Which Secret's key a provider's models are asked with, and where a pod finds it. Pure.

A key is for one host. It is sent to no other, whatever a pool's providers say.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from voicesession.models import Header, ModelServer, PoolMcpServer, Provider, RealtimeModel, SecretRef

Part = Literal["stt", "llm", "tts"]
PARTS: tuple[Part, ...] = ("stt", "llm", "tts")
OPENAI_URL = "https://api.openai.com/v1"
KEYS_FOLDER = "/etc/voice-agent/providers"
KEY_FILE = "api-key"


class ProviderKey(NamedTuple):
    """A Secret that a pod needs for a provider. `folder`: of its KEY_FILE; `volume`: its name in the pod's spec."""

    folder: str
    volume: str
    secret_ref: SecretRef


def list_keys(provider: Provider) -> Iterator[ProviderKey]:
    """Yields the keys that a pod of this provider's pool is given, headers' among them: a mount for each."""
    # No provider's name begins with a hyphen: volumes of different providers never have the same name.
    if provider.secret_ref:
        yield ProviderKey(provider.name, f"key-{provider.name}", provider.secret_ref)
    for part, server in list_servers(provider):
        yield from list_own_keys(server, part, provider.name, part_folder(provider, part))


def list_own_keys(server: ModelServer | PoolMcpServer, kind: str, name: str, folder: str) -> Iterator[ProviderKey]:
    """Yields the keys that one server is asked with, its own and its headers'. `folder`: of its own.

    `kind` and `name` are of one pool's servers no other's.
    """
    if server.secret_ref:
        yield ProviderKey(folder, f"key--{kind}-{name}", server.secret_ref)
    for number, header in enumerate(server.headers or []):
        if header.secret_ref:
            yield ProviderKey(header_folder(folder, header), f"key--{kind}--{number}-{name}", header.secret_ref)


def list_servers(provider: Provider) -> list[tuple[Part, ModelServer]]:
    """Returns the parts that the provider has, with where their models are; a realtime model aside."""
    servers: dict[Part, ModelServer | None] = {"stt": provider.stt, "llm": provider.llm, "tts": provider.tts}
    return [(part, server) for part, server in servers.items() if server is not None]


def key_folder(provider: Provider, server: ModelServer | RealtimeModel, part: Part | None = None) -> str | None:
    """Returns the folder of the key that a server of the provider is asked with, or None where it gets none.

    `part`: whose it is; None for the realtime model's.
    """
    if part and isinstance(server, ModelServer) and server.secret_ref:
        return part_folder(provider, part)
    return provider.name if provider.secret_ref and find_host(server) == _own_host(provider) else None


def part_folder(provider: Provider, part: Part) -> str:
    """Returns the folder of a part's own key."""
    return f"{provider.name}.{part}"


def header_folder(folder: str, header: Header) -> str:
    """Returns the folder of a header's value, where it is a Secret's. `folder`: of its server's key."""
    return f"{folder}.{header.name}"


def find_host(server: ModelServer | RealtimeModel) -> str:
    """Returns the host of a model's server, with the port where one is named."""
    return urlsplit((server.base_url or OPENAI_URL).lower()).netloc


def is_openai(server: ModelServer | RealtimeModel) -> bool:
    """Tells whether a model is at OpenAI's own server, not at one that only speaks its API."""
    return find_host(server) == urlsplit(OPENAI_URL).netloc


def _own_host(provider: Provider) -> str | None:
    """Returns the one host that the provider's own key is for: OpenAI's, where a model is there; else where all are."""
    hosts = {find_host(server) for _, server in list_servers(provider) if not server.secret_ref}
    if provider.realtime:
        hosts.add(find_host(provider.realtime))
    openai = urlsplit(OPENAI_URL).netloc
    if openai in hosts:
        return openai
    return hosts.pop() if len(hosts) == 1 else None
