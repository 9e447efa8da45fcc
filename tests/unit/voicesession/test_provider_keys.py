"""A key goes to the host that it is for, and to no other."""

from typing import Any

import pytest

from voicesession.models import Provider, SecretRef
from voicesession.provider_keys import key_folder, list_keys, list_servers

GATEWAY = "https://gateway.example/v1"
SPEECH = "http://speech:8000/v1"


def provider(stt: Any = None, llm: Any = None, tts: Any = None, **fields: Any) -> Provider:
    parts = {name: {"model": "m", **(part or {})} for name, part in (("stt", stt), ("llm", llm), ("tts", tts))}
    return Provider.model_validate({"name": "mixed", **parts, **fields})


def folders(of: Provider) -> list[str | None]:
    """Returns where the keys of stt, llm and tts are."""
    return [key_folder(of, server, part) for part, server in list_servers(of)]


OWN = {"secretRef": {"name": "own"}}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, ["mixed", "mixed", "mixed"]),
        # All at one gateway: the provider's key is for that.
        ({key: {"baseUrl": GATEWAY} for key in ("stt", "llm", "tts")}, ["mixed", "mixed", "mixed"]),
        # OpenAI's key is not for another host.
        ({"stt": {"baseUrl": SPEECH}, "tts": {"baseUrl": SPEECH}}, [None, "mixed", None]),
        ({"stt": {"baseUrl": "https://API.OpenAI.com/v1/"}}, ["mixed", "mixed", "mixed"]),
        ({"stt": {"baseUrl": SPEECH, **OWN}}, ["mixed.stt", "mixed", "mixed"]),
        # Who has a key of its own has no say in whose the provider's is.
        (
            {"stt": {"baseUrl": SPEECH, **OWN}, "llm": {"baseUrl": GATEWAY}, "tts": {"baseUrl": GATEWAY}},
            ["mixed.stt", "mixed", "mixed"],
        ),
        ({"stt": OWN, "llm": OWN, "tts": OWN}, ["mixed.stt", "mixed.llm", "mixed.tts"]),
        # The API server refuses it; an object that it has stored before gets no key.
        (
            {"stt": {"baseUrl": SPEECH}, "llm": {"baseUrl": GATEWAY}, "tts": {"baseUrl": GATEWAY}},
            [None, None, None],
        ),
        # Another port is another server.
        (
            {name: {"baseUrl": f"http://models:{port}/v1"} for name, port in (("stt", 1), ("llm", 2), ("tts", 2))},
            [None, None, None],
        ),
    ],
)
def test_the_providers_key_is_for_one_host(parts: dict[str, Any], expected: list[str | None]) -> None:
    assert folders(provider(**parts, secretRef={"name": "shared"})) == expected


def test_without_a_secret_nobody_gets_a_key() -> None:
    assert folders(provider()) == [None, None, None]


def test_a_realtime_models_key() -> None:
    realtime = Provider.model_validate({"name": "r", "realtime": {"model": "m", "baseUrl": GATEWAY}})
    assert realtime.realtime is not None
    assert key_folder(realtime, realtime.realtime) is None
    keyed = realtime.model_copy(update={"secret_ref": SecretRef(name="s")})
    assert key_folder(keyed, realtime.realtime) == "r"


def test_each_secret_is_mounted_at_a_place_of_its_own() -> None:
    headers = [{"name": "X-Title", "value": "a"}, {"name": "X-Key", "secretRef": {"name": "header"}}]
    keys = list(list_keys(provider(stt=OWN, llm={**OWN, "headers": headers}, secretRef={"name": "shared"})))
    assert [(key.folder, key.volume, key.secret_ref.name) for key in keys] == [
        ("mixed", "key-mixed", "shared"),
        ("mixed.stt", "key--stt-mixed", "own"),
        ("mixed.llm", "key--llm-mixed", "own"),
        ("mixed.llm.X-Key", "key--llm--1-mixed", "header"),
    ]
