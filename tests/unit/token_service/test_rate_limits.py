"""How often somebody may ask."""

import pytest

from token_service.metrics import RATE_LIMITED
from token_service.problems import HttpProblem
from token_service.rate_limits import By, RateLimits, network_of


def refusal(limits: RateLimits, by: By, name: str) -> HttpProblem:
    with pytest.raises(HttpProblem) as refused:
        limits.check(by, name)
    return refused.value


def test_a_minutes_requests_may_come_at_once_and_the_next_is_told_when() -> None:
    limits = RateLimits(per_tenant=30, per_address=600)
    before = RATE_LIMITED.labels("tenant")._value.get()
    for _ in range(30):
        limits.check("tenant", "acme")
    problem = refusal(limits, "tenant", "acme")
    assert (problem.status, problem.kind) == (429, "too-many-requests")
    assert problem.retry_after in {1, 2}
    assert f"Try again in {problem.retry_after} s" in problem.detail
    assert RATE_LIMITED.labels("tenant")._value.get() == before + 1


def test_one_askers_flood_is_nobody_elses() -> None:
    limits = RateLimits(per_tenant=1, per_address=1)
    for by, name in (("tenant", "acme"), ("address", "acme"), ("call", "acme"), ("tenant", "beta")):
        limits.check(by, name)  # type: ignore[arg-type]
        assert refusal(limits, by, name).status == 429  # type: ignore[arg-type]


def test_without_a_limit_nobody_is_refused() -> None:
    limits = RateLimits(per_tenant=0, per_address=0)
    for _ in range(10_000):
        limits.check("address", "192.0.2.1")
        limits.check("tenant", "acme")


def test_a_rooms_calls_are_looked_up_once_a_second_and_few_rooms_at_a_time() -> None:
    limits = RateLimits(per_tenant=0, per_address=0)
    assert limits.may_look_up("room")
    assert not limits.may_look_up("room")
    assert sum(limits.may_look_up(f"room-{number}") for number in range(100)) < 30


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("", "unknown"),
        ("testclient", "unknown"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_whoever_has_a_network_of_addresses_has_one_share(host: str, network: str) -> None:
    assert network_of(host) == network
