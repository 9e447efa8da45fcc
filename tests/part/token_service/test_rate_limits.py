"""Who asks too often is told when to come back, and nobody else notices."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from testing.fake_cluster import FakeCluster
from testing.token_service_app import check_problem, resign, room_of, running_front_door
from voicesession import clock


async def test_an_address_that_asks_too_often_is_told_when_to_come_back(cluster: FakeCluster) -> None:
    async with running_front_door(cluster, rate_limit_per_address=3) as door:
        for _ in range(3):
            assert (await door.call("POST", "/api/token")).status == 201
        for method, path in (("POST", "/api/token"), ("POST", "/api/connection-details"), ("GET", "/api/profiles")):
            answer = await door.call(method, path)
            check_problem(answer, 429, "too-many-requests")
            assert 1 <= int(answer.headers["retry-after"]) <= 20
        # What costs nothing is not counted: the page, its description, and LiveKit's webhooks.
        assert (await door.call("GET", "/openapi.json")).status == 200
        assert (await door.call("POST", "/livekit/webhook")).status == 401


@pytest.mark.parametrize(("trusted", "last"), [("", 429), ("127.0.0.0/8", 201), ("10.0.0.0/8", 429)])
async def test_a_customer_is_known_by_the_address_that_a_trusted_proxy_tells_and_by_no_other(
    cluster: FakeCluster, trusted: str, last: int
) -> None:
    async with running_front_door(cluster, rate_limit_per_address=1, trusted_proxies=trusted) as door:
        for address, status in (("192.0.2.1", 201), ("192.0.2.2", last)):
            # Whatever a customer wrote in front of it counts as little.
            headers = {"X-Forwarded-For": f"203.0.113.9, {address}"}
            assert (await door.call("POST", "/api/token", headers=headers)).status == status


async def test_tenants_are_counted_by_their_keys_and_only_strangers_by_their_address(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    keys = tmp_path / "api-keys"
    keys.write_text("\n".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}" for name in ("acme", "beta")))
    wanted: dict[str, Any] = {
        "auth_mode": "api-key",
        "api_keys_file": keys,
        "rate_limit_per_tenant": 2,
        "rate_limit_per_address": 1,
    }
    async with running_front_door(cluster, **wanted) as door:
        statuses = [(await door.call("POST", "/api/token", {}, "acme")).status for _ in range(3)]
        assert statuses == [201, 201, 429]
        check_problem(await door.call("POST", "/api/token", {}, "wrong"), 401, "unauthorized")
        check_problem(await door.call("POST", "/api/token", {}, "wrong"), 429, "too-many-requests")
        assert (await door.call("POST", "/api/token", {}, "beta")).status == 201


async def test_customers_behind_one_address_are_counted_each_by_their_call(cluster: FakeCluster) -> None:
    async with running_front_door(cluster, rate_limit_per_address=2) as door:
        tokens = [(await door.call("POST", "/api/token")).body["participant_token"] for _ in range(2)]
        for token in tokens:
            path = f"/api/sessions/{room_of(token)}"
            assert [(await door.call("GET", path, bearer=token)).status for _ in range(3)] == [404, 404, 429]


async def test_asking_for_calls_that_do_not_exist_costs_the_api_server_next_to_nothing(cluster: FakeCluster) -> None:
    async with running_front_door(cluster) as door:
        token = (await door.call("POST", "/api/token")).body["participant_token"]
        path, before = f"/api/sessions/{room_of(token)}", cluster.requests["list"]
        old = resign(token, exp=int(clock.now().timestamp()) - 600)
        for _ in range(50):
            check_problem(await door.call("GET", path, bearer=old), 404, "no-such-call")
        assert cluster.requests["list"] == before
        began = clock.now()
        for _ in range(50):
            check_problem(await door.call("GET", path, bearer=token), 404, "no-such-call")
        assert cluster.requests["list"] - before <= 2 + (clock.now() - began).total_seconds()
