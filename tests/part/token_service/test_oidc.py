"""Tokens of an OpenID Connect issuer, which answers over HTTP, goes away, and changes its keys."""

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from testing.fake_cluster import FakeCluster
from testing.oidc_issuer import AUDIENCE, OidcIssuer, public_jwk, running_issuer
from testing.tickets import TICKETS
from testing.token_service_app import FrontDoor, check_problem, room_of, running_front_door, ticket_of
from testing.waiting import eventually


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with running_issuer() as running:
        yield running


@contextlib.asynccontextmanager
async def door_for(issuer: OidcIssuer, cluster: FakeCluster, **settings: Any) -> AsyncIterator[FrontDoor]:
    """Serves a front door that takes this issuer's tokens."""
    wanted = {"auth_mode": "oidc", "oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, **settings}
    async with running_front_door(cluster, **wanted) as door:
        yield door


@pytest.fixture
async def oidc_door(issuer: OidcIssuer, cluster: FakeCluster) -> AsyncIterator[FrontDoor]:
    async with door_for(issuer, cluster) as running:
        yield running


async def ask(door: FrontDoor, token: str | None) -> int:
    """Returns the status of a token request with this bearer."""
    return (await door.call("POST", "/api/token", {}, token)).status


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
async def test_an_issuer_s_token_lets_in_whom_it_names(issuer: OidcIssuer, oidc_door: FrontDoor, kid: str) -> None:
    answer = await oidc_door.call("POST", "/api/token", {}, issuer.sign(kid, aud=["another", AUDIENCE]))
    assert answer.status == 201
    token = answer.body["participant_token"]
    assert TICKETS.read(ticket_of(token), room_of(token)).tenant == "acme"


async def test_no_other_token_does_and_its_bearer_is_told_why(issuer: OidcIssuer, oidc_door: FrontDoor) -> None:
    now = jwt.decode(issuer.sign(), options={"verify_signature": False})["iat"]
    for words, token in (
        ("expired", issuer.sign(exp=now - 31)),
        ("not valid yet", issuer.sign(nbf=now + 120)),
        ("another audience", issuer.sign(aud="another")),
        ("another issuer", issuer.sign(iss=f"{issuer.url}/other")),
        ("no token", issuer.sign(exp=None)),
        ("no token", issuer.sign(aud=None)),
        ("no token", issuer.sign(iss=None)),
        ("no token", "x.y.z"),
        ("no token", "x" * 10_000),
        ("algorithm", issuer.sign("rsa", "PS256")),
        ("'sub'", issuer.sign(sub="acme:lobby")),
        ("'sub'", issuer.sign(sub=None)),
    ):
        answer = await oidc_door.call("POST", "/api/token", {}, token)
        assert words in check_problem(answer, 401, "unauthorized")["detail"], token
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    answer = await oidc_door.call("POST", "/api/token")
    check_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    # Clocks may differ by half a minute.
    assert await ask(oidc_door, issuer.sign(exp=now - 5)) == 201


def forge(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


async def test_nobody_signs_by_what_everybody_knows(issuer: OidcIssuer, oidc_door: FrontDoor) -> None:
    claims = jwt.decode(issuer.sign(), options={"verify_signature": False})
    public = issuer.private["rsa"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    unsigned = forge({"alg": "HS256", "kid": "rsa", "typ": "JWT"}, claims)
    by_public_key = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        unsigned.rpartition(".")[0].encode(), public
    )
    own = rsa.generate_private_key(65537, 2048)
    for token in (
        forge({"alg": "none", "kid": "rsa"}, claims),
        forge({"alg": "HS256", "kid": "rsa", "typ": "JWT"}, claims, by_public_key),
        jwt.encode(claims, own, "RS256", headers={"kid": "rsa"}),
        jwt.encode(claims, own, "RS256", headers={"kid": "rsa", "jwk": public_jwk("rsa", own)}),
        jwt.encode(claims, own, "RS256", headers={"kid": "rsa", "jku": f"{issuer.url}/keys"}),
        jwt.encode(claims, own, "RS256"),
    ):
        assert await ask(oidc_door, token) == 401, token


async def test_a_secret_or_weak_key_in_the_issuer_s_set_lets_nobody_in(
    issuer: OidcIssuer, cluster: FakeCluster
) -> None:
    secret = b"thirty-two bytes that all can read"
    issuer.private["weak"] = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    issuer.shown += [
        {"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(secret).decode().rstrip("=")},
        public_jwk("weak", issuer.private["weak"]),
        {"kty": "RSA", "kid": "broken"},
        {**issuer.shown[0], "kid": "encrypts", "use": "enc"},
    ]
    issuer.private["encrypts"] = issuer.private["rsa"]
    async with door_for(issuer, cluster) as door:
        claims = jwt.decode(issuer.sign(), options={"verify_signature": False})
        for token in (
            jwt.encode(claims, secret, "HS256", headers={"kid": "shared"}),
            issuer.sign("weak", "RS256"),
            issuer.sign("encrypts", "RS256"),
        ):
            assert await ask(door, token) == 401
        assert await ask(door, issuer.sign()) == 201


async def test_a_new_key_is_asked_for_and_one_that_was_taken_back_counts_no_more(
    issuer: OidcIssuer, oidc_door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("token_service.issuer_keys._AGAIN_SECONDS", 0.0)
    before = issuer.sign()
    assert await ask(oidc_door, before) == 201
    issuer.private["next"] = rsa.generate_private_key(65537, 2048)
    issuer.shown = [public_jwk("next", issuer.private["next"])]
    assert await ask(oidc_door, issuer.sign("next", "RS256")) == 201
    assert await ask(oidc_door, before) == 401
    # The only key there is, is meant where none is named.
    claims = jwt.decode(before, options={"verify_signature": False})
    assert await ask(oidc_door, jwt.encode(claims, issuer.private["next"], "RS256")) == 201


async def test_while_the_issuer_is_away_known_keys_count_and_nobody_else_comes_in(
    issuer: OidcIssuer, oidc_door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await ask(oidc_door, issuer.sign()) == 201
    issuer.private["next"] = rsa.generate_private_key(65537, 2048)
    monkeypatch.setattr("token_service.issuer_keys._AGAIN_SECONDS", 0.0)
    for breakage in ("status", "empty"):
        if breakage == "status":
            issuer.status = 500
        else:
            issuer.status, issuer.shown = 200, []
        check_problem(await oidc_door.call("POST", "/api/token", {}, issuer.sign("next", "RS256")), 503, "unavailable")
        assert await ask(oidc_door, issuer.sign()) == 201


async def test_an_issuer_that_comes_late_is_waited_for(
    issuer: OidcIssuer, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("token_service.issuer_keys._AGAIN_SECONDS", 0.01)
    issuer.status = 503
    async with door_for(issuer, cluster) as door:
        check_problem(await door.call("POST", "/api/token", {}, issuer.sign()), 503, "unavailable")
        issuer.status = 200
        await eventually(lambda: issuer.requests["/keys"] > 0)
        assert await ask(door, issuer.sign()) == 201


async def test_strangers_bring_about_no_more_than_one_question_in_ten_seconds(
    issuer: OidcIssuer, oidc_door: FrontDoor
) -> None:
    assert await ask(oidc_door, issuer.sign()) == 201
    issuer.private["unknown"] = issuer.private["rsa"]
    statuses = await asyncio.gather(*(ask(oidc_door, issuer.sign("unknown", "RS256")) for _ in range(50)))
    assert set(statuses) == {401}
    assert issuer.requests["/keys"] == 1


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"oidc_tenant_claim": "https://example.com/org"}, 201),
        ({"oidc_algorithms": "ES256,EdDSA"}, 401),
        ({"oidc_algorithms": "PS256 , RS256"}, 201),
        ({"oidc_clock_skew_seconds": 0}, 201),
    ],
)
async def test_the_settings_say_what_is_taken(
    issuer: OidcIssuer, cluster: FakeCluster, settings: dict[str, Any], status: int
) -> None:
    async with door_for(issuer, cluster, oidc_jwks_url=f"{issuer.url}/keys", **settings) as door:
        token = issuer.sign(**{"https://example.com/org": "acme"})
        answer = await door.call("POST", "/api/token", {}, token)
        assert answer.status == status
        assert not issuer.requests["/.well-known/openid-configuration"]


async def test_another_s_discovery_document_is_not_believed(issuer: OidcIssuer, cluster: FakeCluster) -> None:
    async with door_for(issuer, cluster, oidc_issuer=f"{issuer.url}/") as door:
        assert await ask(door, issuer.sign(iss=f"{issuer.url}/")) == 503


async def test_the_log_has_no_token(issuer: OidcIssuer, oidc_door: FrontDoor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        tokens = [issuer.sign(), issuer.sign(exp=1), issuer.sign(sub="a b")]
        for token in tokens:
            await ask(oidc_door, token)
    assert "ExpiredSignatureError" in str([vars(record) for record in caplog.records])
    for token in tokens:
        assert not any(token.split(".")[1] in str(vars(record)) for record in caplog.records)
