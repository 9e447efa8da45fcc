"""How things stand, as a scrape finds it; a standby tells nothing of it."""

from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from testing.operator_objects import NOW, finished_conditions, joined_conditions
from voice_operator.cache import Cache
from voice_operator.keys import Kind
from voice_operator.state_metrics import show_state
from voicesession import clock
from voicesession.assignment import Heartbeat
from voicesession.conditions import ConditionType, Reason, with_condition
from voicesession.models import Condition
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, VOICE_SESSIONS

Raw = dict[str, Any]
DEPTHS = {Kind.CALL: 3, Kind.POOL: 0}


def read(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def put(cache: Cache, plural: str, name: str, spec: Raw, status: Raw, age: float) -> None:
    made = (clock.now() - timedelta(seconds=age)).isoformat()
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": "1", "creationTimestamp": made}
    cache.stores[plural].put({"metadata": metadata, "spec": spec, "status": status})


def dump(conditions: list[Condition]) -> list[Raw]:
    return [each.model_dump(by_alias=True, mode="json") for each in conditions]


@pytest.fixture
def cache() -> Cache:
    cache = Cache()
    lost = with_condition(
        joined_conditions(),
        ConditionType.AGENT_JOINED,
        "False",
        Reason.NODE_LOST,
        "",
        clock.now() - timedelta(seconds=9),
    )
    for name, phase, reason, conditions, age in (
        ("new", None, None, [], 0.5),
        ("waits", "Pending", "NoCapacity", [], 30),
        ("waits-too", "Pending", "NoCapacity", [], 40),
        ("talks", "Active", "Joined", joined_conditions(), 300),
        ("lost", "Recovering", "NodeLost", lost, 300),
        ("over", "Ended", "CallEnded", finished_conditions(), 300),
    ):
        status: Raw = {"phase": phase, "reason": reason, "conditions": dump(conditions)}
        put(cache, VOICE_SESSIONS, name, {"profile": "shop", "room": name}, status, age)
    put(cache, AGENT_PROFILES, "quiet", {}, {}, 300)
    ready = with_condition([], ConditionType.READY, "False", Reason.IMAGE_PULL_FAILED, "", NOW)
    status = {"ready": 1, "starting": 2, "inUse": 3, "waiting": 4, "conditions": dump(ready)}
    put(cache, AGENT_POOLS, "desk", {"image": "agent:1", "warm": {"min": 5}}, status, 300)
    return cache


def beat(memory: int, unwritten: int = 0) -> tuple[str, Heartbeat]:
    return "desk", Heartbeat(at=NOW, memory_bytes=memory, unwritten_items=unwritten)


def test_the_leader_tells_who_waits_and_why(cache: Cache) -> None:
    show_state(cache, [beat(200, 1), beat(300, 2)], DEPTHS, leading=True)
    for phase, count in (("Pending", 3), ("Active", 1), ("Recovering", 1), ("Ended", 1), ("Failed", 0)):
        assert read("voice_operator_sessions", profile="shop", phase=phase) == count
    assert read("voice_operator_sessions", profile="quiet", phase="Active") == 0
    for reason, count, seconds in (("NoCapacity", 2, 40), ("NodeLost", 1, 9), ("WaitingForPod", 1, 0.5)):
        assert read("voice_operator_waiting_sessions", reason=reason) == count
        assert read("voice_operator_longest_wait_seconds", reason=reason) == pytest.approx(seconds, abs=5)
    assert read("voice_operator_pool_pods", pool="desk", state="in-use") == 3
    assert (
        read("voice_operator_pool_waiting", pool="desk"),
        read("voice_operator_pool_minimum_pods", pool="desk"),
    ) == (
        4,
        5,
    )
    assert read("voice_operator_pool_ready", pool="desk", reason="ImagePullFailed") == 0
    assert (read("voice_agent_memory_bytes", pool="desk"), read("voice_agent_memory_max_bytes", pool="desk")) == (
        500,
        300,
    )
    assert read("voice_agent_unwritten_rows") == 3
    assert read("voice_operator_queue_depth", kind="call") == 3


def test_nobody_who_waits_is_told_too() -> None:
    show_state(Cache(), [], DEPTHS, leading=True)
    assert read("voice_operator_waiting_sessions", reason="WaitingForPod") == 0
    assert read("voice_operator_waiting_sessions", reason="NoCapacity") is None


def test_who_leads_no_more_tells_nothing_of_the_installation(cache: Cache) -> None:
    show_state(cache, [beat(200, 1)], DEPTHS, leading=True)
    show_state(cache, [], DEPTHS, leading=False)
    assert read("voice_operator_leading") == 0
    assert read("voice_operator_sessions", profile="shop", phase="Active") is None
    assert read("voice_operator_waiting_sessions", reason="NoCapacity") is None
    assert read("voice_operator_pool_pods", pool="desk", state="ready") is None
    assert read("voice_agent_memory_bytes", pool="desk") is None
    assert (read("voice_agent_unwritten_rows"), read("voice_operator_queue_depth", kind="call")) == (0, 3)


def test_what_was_not_counted_yet_is_there_as_0(cache: Cache) -> None:
    """Else Prometheus sees no increase in the first one."""
    show_state(cache, [], DEPTHS, leading=True)
    for name, labels in (
        ("voice_operator_agents_lost_total", {"reason": "Evicted"}),
        ("voice_operator_reconcile_errors_total", {"kind": "preparation"}),
        ("voice_operator_rooms_polled_total", {"outcome": "lost-webhook"}),
        ("voice_operator_pool_pods_failed_total", {"pool": "desk"}),
    ):
        assert read(name, **labels) is not None, name
