"""Who may ask, and the names that their calls get."""

import hashlib
import logging
from pathlib import Path

import pytest

from token_service.call_names import choose_names, is_hard_to_guess
from token_service.callers import ApiKeys, Caller, parse_api_keys, read_bearer
from token_service.problems import HttpProblem
from voicesession.names import ROOM_PREFIX, USER_PREFIX, is_valid_room

SECRET = "livekit-secret"
KEY = "L3wPTn86xVucPi2PbxybEA"
HEX_KEY = "9f86d081884c7d659a2feaa0c55ad015"


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_keys_are_read_by_their_hashes_and_a_tenant_may_have_two() -> None:
    text = f"# ours\nacme:{hash_of('one')}\n\nacme:sha256:{hash_of('two').upper()}\n beta:{hash_of('three')}\n"
    assert parse_api_keys(text) == {hash_of("one"): "acme", hash_of("two"): "acme", hash_of("three"): "beta"}


@pytest.mark.parametrize(
    "text",
    ["", "# none", "acme:secret", f"-acme:{'0' * 64}", f"a b:{'0' * 64}", f"acme:{'0' * 64}\nbeta:{'0' * 64}"],
)
def test_a_keys_file_with_a_mistake_says_where(text: str) -> None:
    with pytest.raises(ValueError, match="API keys"):
        parse_api_keys(text)


async def test_a_key_tells_its_tenant_and_no_other_gets_in(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"acme:{hash_of('one')}\n")
    keys = ApiKeys(path)
    assert await keys.authenticate("one") == Caller("acme")
    for stranger in (None, "", "two", hash_of("one")):
        with pytest.raises(HttpProblem) as refused:
            await keys.authenticate(stranger)
        assert (refused.value.status, refused.value.headers) == (401, {"WWW-Authenticate": "Bearer"})


async def test_a_changed_file_is_read_again_and_a_broken_one_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("token_service.callers._RELOAD_SECONDS", 0.0)
    path = tmp_path / "keys"
    path.write_text(f"acme:{hash_of('one')}\n")
    keys = ApiKeys(path)
    path.write_text("rubbish\n")
    with caplog.at_level(logging.ERROR):
        assert await keys.authenticate("one") == Caller("acme")
    assert "stay as they are" in caplog.text
    path.write_text(f"beta:{hash_of('two')}\n")
    assert await keys.authenticate("two") == Caller("beta")
    with pytest.raises(HttpProblem):
        await keys.authenticate("one")


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("Bearer ", None), ("", None), (None, None)],
)
def test_a_bearer_header_is_read(header: str | None, token: str | None) -> None:
    assert read_bearer(header) == token


def test_without_a_key_every_call_has_names_of_its_own() -> None:
    names = [choose_names(Caller(), None, SECRET) for _ in range(1000)]
    assert len(
        {each.room for each in names} | {each.identity for each in names} | {each.call_id for each in names}
    ) == (3000)


def test_the_same_key_of_the_same_tenant_gives_the_same_names_and_nobody_else_s() -> None:
    mine = choose_names(Caller("acme"), "order-1", SECRET)
    assert mine == choose_names(Caller("acme"), "order-1", SECRET)
    others = [
        choose_names(Caller("acme"), "order-2", SECRET),
        choose_names(Caller("beta"), "order-1", SECRET),
        choose_names(Caller("acme"), "order-1", "another secret"),
        choose_names(Caller(), KEY, SECRET),
    ]
    for other in others:
        assert not {mine.room, mine.identity, mine.call_id} & {other.room, other.identity, other.call_id}
    assert mine.room.startswith(ROOM_PREFIX)
    assert is_valid_room(mine.room)
    assert mine.identity.startswith(USER_PREFIX)
    assert mine.room.removeprefix(ROOM_PREFIX) != mine.identity.removeprefix(USER_PREFIX)


def test_a_tenant_and_its_key_cannot_be_shifted_into_each_other() -> None:
    assert choose_names(Caller("a"), "b-c", SECRET) != choose_names(Caller("a-b"), "c", SECRET)


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        HEX_KEY,
        HEX_KEY.upper(),
        "Zm9vYmFyYmF6cXV4MTIzNA",
        "8f3e-Zm9vYmFy_YmF6cXV4MTI",
        "2f7c0f4e-7f3a-4c55-9c3e-2d8f6f1c9b10",
        "2F7C0F4E-7F3A-4C55-9C3E-2D8F6F1C9B10",
    ],
)
def test_random_keys_are_taken_from_anybody(key: str) -> None:
    assert is_hard_to_guess(key)
    assert choose_names(Caller(), key, SECRET) == choose_names(Caller(), key, SECRET)


@pytest.mark.parametrize(
    "key",
    [
        "order-1",
        "1234567890123456789012",
        "a" * 64,
        "abababababababababababababababab",
        "0123456789abcdef012345",
        "Zm9vYmFyYmF6cXV4MTIzN",
        "00000000-0000-4000-8000-000000000000",
        "2f7c0f4e-7f3a-1c55-9c3e",
        "2f7c0f4e-7f3a-1c55-9c3e-2d8f6f1c9b10",
        "0198c2d4-7f3a-7c55-9c3e-2d8f6f1c9b10",
        "2f7c0f4e-7f3a-4c55-1c3e-2d8f6f1c9b10",
    ],
)
def test_guessable_keys_are_refused_where_nobody_is_asked_for_an_api_key(key: str) -> None:
    with pytest.raises(HttpProblem) as refused:
        choose_names(Caller(), key, SECRET)
    assert refused.value.status == 422
    assert "UUID" in refused.value.detail
    choose_names(Caller("acme"), key, SECRET)


@pytest.mark.parametrize("key", ["", " ", "a b", "ü" * 30, "x" * 256, "a\tb"])
def test_keys_that_no_header_should_carry_are_refused_from_everybody(key: str) -> None:
    with pytest.raises(HttpProblem):
        choose_names(Caller("acme"), key, SECRET)
