"""Each server of a provider is asked with its own key and headers, as long as its part says, and nobody else is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from voice_agent.answers.client import PATIENCE, Patience
from voice_agent.model_clients import ModelClients
from voicesession.models import Provider
from voicesession.provider_keys import list_servers

PROVIDER: dict[str, Any] = {
    "name": "mixed",
    "stt": {"model": "m", "baseUrl": "https://stt.example/v1", "secretRef": {"name": "a"}},
    "llm": {"model": "m"},
    "tts": {"model": "m", "baseUrl": "http://tts.example/v1"},
    "secretRef": {"name": "b"},
}
KEYS = {"mixed": "openai-key\n", "mixed.stt": "stt-key"}


class Asked:
    """A transport that notes each request, and answers as told."""

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response]) -> None:
        self.requests: list[httpx2.Request] = []
        self._answer = answer

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return self._answer(request)


def list_models(_: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, json={"object": "list", "data": []})


def write_keys(folder: Path, keys: dict[str, str]) -> None:
    for name, value in keys.items():
        (folder / name).mkdir()
        (folder / name / "api-key").write_text(value)


async def ask_all(provider: dict[str, Any], folder: Path, asked: Asked, on_secret: Callable[[str], None]) -> None:
    """Asks each server of the provider, in the order stt, llm, tts."""
    clients = ModelClients(folder, on_secret, httpx2.MockTransport(asked))
    parsed = Provider.model_validate(provider)
    for part, server in list_servers(parsed):
        await clients.build(parsed, part, server).models.list()


async def test_each_host_sees_its_own_key_only(tmp_path: Path) -> None:
    write_keys(tmp_path, KEYS)
    asked, hidden = Asked(list_models), set[str]()
    await ask_all(PROVIDER, tmp_path, asked, hidden.add)
    assert [(request.url.host, request.headers.get("Authorization")) for request in asked.requests] == [
        ("stt.example", "Bearer stt-key"),
        ("api.openai.com", "Bearer openai-key"),
        ("tts.example", None),
    ]
    assert hidden == {"openai-key", "stt-key"}


async def test_headers_are_one_servers(tmp_path: Path) -> None:
    write_keys(tmp_path, {"mixed.tts.X-Api-Key": "header-key"})
    headers = [{"name": "X-Title", "value": "Pizza"}, {"name": "X-Api-Key", "secretRef": {"name": "c"}}]
    asked, hidden = Asked(list_models), set[str]()
    await ask_all({**PROVIDER, "tts": {**PROVIDER["tts"], "headers": headers}}, tmp_path, asked, hidden.add)
    assert [request.headers.get("X-Api-Key") for request in asked.requests] == [None, None, "header-key"]
    assert [request.headers.get("X-Title") for request in asked.requests] == [None, None, "Pizza"]
    assert hidden == {"header-key"}


async def test_a_header_may_be_the_authorization(tmp_path: Path) -> None:
    headers = [{"name": "authorization", "value": "Token t"}]
    asked = Asked(list_models)
    await ask_all({**PROVIDER, "llm": {"model": "m", "headers": headers}}, tmp_path, asked, lambda _: None)
    assert asked.requests[1].headers["Authorization"] == "Token t"


async def test_the_part_says_how_long_is_waited(tmp_path: Path) -> None:
    asked = Asked(list_models)
    provider = Provider.model_validate({**PROVIDER, "llm": {"model": "m", "timeouts": {"readSeconds": 60}}})
    clients = ModelClients(tmp_path, transport=httpx2.MockTransport(asked))
    for part, server in list_servers(provider):
        # As the plugin asks, with time-outs of its own.
        await clients.build(provider, part, server).models.list(timeout=1)
    waits = [request.extensions["timeout"] for request in asked.requests]
    assert [(wait["connect"], wait["read"]) for wait in waits] == [(3, 10), (3, 60), (3, 10)]
    patience = [request.extensions[PATIENCE] for request in asked.requests]
    assert patience == [Patience(3, None, 4), Patience(3, 60, 60), Patience(3, None, 4)]


async def test_the_environments_proxy_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def proxy(request: web.BaseRequest) -> web.Response:
        asked.append(str(request.url))
        return web.json_response({"object": "list", "data": []})

    async with RawTestServer(proxy) as server:
        monkeypatch.setenv("HTTP_PROXY", str(server.make_url("/")))
        provider = Provider.model_validate({"name": "p", "llm": {"model": "m", "baseUrl": "http://models.invalid/v1"}})
        assert provider.llm is not None
        await ModelClients(tmp_path).build(provider, "llm", provider.llm).models.list()
    assert asked == ["http://models.invalid/v1/models"]


@pytest.mark.parametrize(
    ("asked_url", "location", "followed"),
    [
        ("http://llm.example", "https://llm.example/v2/models", True),
        ("https://llm.example", "/v2/models", True),
        ("https://llm.example", "http://llm.example/v2/models", False),
        ("https://llm.example", "https://elsewhere.example/v2/models", False),
        ("https://llm.example", "https://llm.example.evil.test/v2/models", False),
    ],
)
async def test_no_redirect_takes_a_key_elsewhere(tmp_path: Path, asked_url: str, location: str, followed: bool) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        moved = request.url.path == "/v1/models"
        return httpx2.Response(307, headers={"Location": location}) if moved else list_models(request)

    asked = Asked(answer)
    headers = [{"name": "X-Api-Key", "value": "k"}]
    provider = Provider.model_validate(
        {"name": "p", "llm": {"model": "m", "baseUrl": f"{asked_url}/v1", "headers": headers}}
    )
    assert provider.llm is not None
    client = ModelClients(tmp_path, transport=httpx2.MockTransport(asked)).build(provider, "llm", provider.llm)
    if followed:
        await client.models.list()
    else:
        with pytest.raises(openai.APIConnectionError):
            await client.models.list()
    assert len(asked.requests) == 1 + followed
