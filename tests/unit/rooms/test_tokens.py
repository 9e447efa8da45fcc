"""What is signed for customers and agents, and whose tokens are read."""

from datetime import timedelta
from typing import Any

import jwt
import pytest

from rooms.tokens import Customer, Pass, RoomTokens
from voicesession import clock
from voicesession.models import EffectiveLimits

SECRET = "a-secret-for-tests-of-at-least-32-bytes"
TOKENS = RoomTokens("key", SECRET)
LIMITS = EffectiveLimits(join_timeout_seconds=40, reconnect_grace_seconds=20)
METADATA = '{"a": "ticket"}'
NOW = clock.now().replace(microsecond=0)


def read(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, SECRET, algorithms=["HS256"], issuer="key")
    return claims


def test_the_agent_s_token_is_for_this_room_as_the_agent_for_a_minute() -> None:
    claims = read(TOKENS.sign_agent("room", "Ada"))
    assert (claims["sub"], claims["kind"], claims["name"]) == ("agent", "agent", "Ada")
    assert claims["video"] == {
        "roomJoin": True,
        "room": "room",
        "agent": True,
        "canUpdateOwnMetadata": True,
        "canPublish": True,
        "canSubscribe": True,
        "canPublishData": True,
    }
    assert claims["exp"] - claims["nbf"] == 60
    assert "attributes" not in claims


def test_an_agent_that_follows_another_one_is_seen_at_work_from_the_beginning() -> None:
    assert read(TOKENS.sign_agent("room", None, follows=True))["attributes"] == {"lk.agent.state": "thinking"}


def test_a_customer_s_token_is_for_one_room_and_a_microphone_and_makes_the_room_outlive_the_agent_s_patience() -> None:
    customer = Customer("room", "ada", "Ada", attributes={"colour": "green"}, max_participants=2)
    claims = read(TOKENS.sign_customer(customer, METADATA, LIMITS, lifetime_seconds=30))
    assert (claims["sub"], claims["name"], claims["attributes"]) == ("ada", "Ada", {"colour": "green"})
    assert claims["exp"] - claims["nbf"] == 30
    assert claims["video"] == {
        "roomJoin": True,
        "room": "room",
        "canPublish": True,
        "canPublishSources": ["microphone"],
        "canSubscribe": True,
        "canPublishData": True,
    }
    config = claims["roomConfig"]
    assert config.pop("metadata") == METADATA
    assert config == {"emptyTimeout": 45, "departureTimeout": 25, "maxParticipants": 2}


def test_a_customer_s_own_token_is_read_also_when_it_has_expired() -> None:
    token = TOKENS.sign_customer(Customer("room", "ada"), METADATA, LIMITS, lifetime_seconds=30)
    found = TOKENS.read_pass(token)
    assert found is not None
    assert (found.room, found.identity, found.room_metadata) == ("room", "ada", METADATA)
    assert TOKENS.read_pass(sign(exp=NOW - timedelta(days=1))) == Pass("room", "ada", NOW - timedelta(days=1), "")


def sign(secret: str = SECRET, **changed: Any) -> str:
    claims = {"iss": "key", "sub": "ada", "exp": NOW, "video": {"roomJoin": True, "room": "room"}, **changed}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, "HS256")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        sign(secret="another-secret-of-at-least-32-bytes-length"),
        sign(iss="another"),
        sign(sub=None),
        sign(exp=None),
        sign(exp=10**30),
        sign(kind="agent"),
        sign(video=None),
        sign(video={"roomJoin": True}),
        sign(video={"room": "room"}),
        sign(video="all"),
        sign(roomConfig="default"),
        TOKENS.sign_agent("room", None),
    ],
)
def test_any_other_token_is_no_pass(token: str) -> None:
    assert TOKENS.read_pass(token) is None


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(TOKENS)
