"""The shelf of ready pods and the lines before it: which call gets which pod."""

from typing import Any

import pytest

from testing.operator_objects import make_raw_pod
from voice_operator.cache import Cache
from voice_operator.pools import ready_pods
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.pools.waiting_line import Waiter
from voicesession.assignment import PROTOCOL
from voicesession.names import PROTOCOL_ANNOTATION


def join(shelf: ReadyPods, uid: str, arrival: int = 0, pool: str = "default") -> None:
    shelf.join_line(pool, Waiter(uid, "default", arrival))


def put_pod(shelf: ReadyPods, cache: Cache, name: str, **fields: Any) -> None:
    cache.pods.on_change = shelf.update
    cache.pods.put(make_raw_pod(name, **fields))


def take(shelf: ReadyPods, count: int) -> list[str | None]:
    """Has so many calls take a pod; returns which they got."""
    taken = []
    for number in range(count):
        join(shelf, f"call-{number}", number)
        pod = shelf.reserve_for(f"call-{number}", "default", "now")
        taken.append(pod.name if pod else None)
    return taken


def test_an_up_to_date_pod_is_preferred_and_of_those_the_first_that_became_ready() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "outdated", template="old")
    put_pod(shelf, cache, "first")
    put_pod(shelf, cache, "second")
    assert take(shelf, 4) == ["first", "second", "outdated", None]


def test_a_pod_of_an_operator_that_spoke_otherwise_is_not_taken() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "later", annotations={PROTOCOL_ANNOTATION: str(PROTOCOL + 1)})
    put_pod(shelf, cache, "ours", annotations={PROTOCOL_ANNOTATION: str(PROTOCOL)})
    assert take(shelf, 2) == ["ours", None]


def test_pods_of_a_node_that_did_not_answer_are_taken_last() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "cut-off", node="lost")
    put_pod(shelf, cache, "outdated", template="old")
    shelf.suspect("lost")
    assert take(shelf, 2) == ["outdated", "cut-off"]


@pytest.mark.parametrize(("seconds", "taken"), [(60.0, False), (0.0, True)])
def test_pods_of_a_lost_node_are_not_taken_until_it_may_be_back(
    monkeypatch: pytest.MonkeyPatch, seconds: float, *, taken: bool
) -> None:
    monkeypatch.setattr(ready_pods, "SUSPICION_SECONDS", seconds)
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "cut-off", node="lost")
    put_pod(shelf, cache, "starting", node="other", ready=False)
    shelf.lose("lost")
    put_pod(shelf, cache, "late", node="lost")
    join(shelf, "call")
    assert shelf.has_pod_for("call") is taken


def test_where_there_is_no_other_node_a_lost_ones_pods_are_taken_all_the_same() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "cut-off", node="lost")
    shelf.lose("lost")
    assert take(shelf, 1) == ["cut-off"]


def test_only_as_many_calls_as_there_are_pods_may_claim() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "one")
    put_pod(shelf, cache, "starting", ready=False)
    join(shelf, "first", 0)
    join(shelf, "second", 1)
    assert (shelf.has_pod_for("first"), shelf.has_pod_for("second")) == (True, False)
    starting = cache.pods.get("starting")
    assert starting
    shelf.answered(starting)
    assert shelf.has_pod_for("second")
    assert shelf.count_waiting("default") == 2


def waiting(*uids: str) -> tuple[ReadyPods, Cache, list[str]]:
    """Returns a shelf without a pod, before which these calls wait, and whom it wakes."""
    cache, woken = Cache(), list[str]()
    shelf = ReadyPods(cache, woken.append)
    for number, uid in enumerate(uids):
        join(shelf, uid, number)
    return shelf, cache, woken


def test_a_pod_that_becomes_ready_wakes_the_first_in_line_only() -> None:
    shelf, cache, woken = waiting("first", "second")
    put_pod(shelf, cache, "one")
    assert woken == ["first"]
    put_pod(shelf, cache, "one", version=2)
    assert woken == ["first"]
    put_pod(shelf, cache, "two")
    assert woken[1:] == ["first", "second"]


def test_the_next_in_line_is_woken_when_the_first_leaves_without_its_pod() -> None:
    shelf, cache, woken = waiting("first", "second")
    put_pod(shelf, cache, "one")
    shelf.leave_line("first")
    assert woken == ["first", "second"]


def test_the_next_in_line_is_woken_when_a_pod_was_claimed_in_vain() -> None:
    shelf, cache, woken = waiting("first", "second")
    put_pod(shelf, cache, "one")
    pod = shelf.reserve_for("first", "default", "now")
    assert pod
    assert woken == ["first"]
    shelf.release(pod)
    assert woken == ["first", "second"]


def test_a_call_stands_in_one_line_until_it_leaves_or_gets_its_pod() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "one")
    assert shelf.line_of("call") is None
    assert not shelf.has_pod_for("call")  # however many pods are ready
    join(shelf, "call")
    assert shelf.line_of("call") == "default"
    shelf.leave_line("call")
    assert (shelf.line_of("call"), shelf.count_waiting("default")) == (None, 0)
    join(shelf, "call")
    assert shelf.reserve_for("call", "default", "now")
    assert (shelf.line_of("call"), shelf.count_waiting("default")) == (None, 0)


def test_what_a_pod_answered_counts_until_its_kubelet_has_its_own_word() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "one", ready=False)
    starting = cache.pods.get("one")
    assert starting
    shelf.answered(starting)
    assert [each.name for each in shelf.list_ready("default")] == ["one"]
    put_pod(shelf, cache, "one", version=2)
    put_pod(shelf, cache, "one", ready=False, version=3)
    assert shelf.list_ready("default") == []


def test_a_reserved_pod_is_nobody_elses_until_it_is_released() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "one")
    join(shelf, "first")
    pod = shelf.reserve_for("first", "default", "now")
    assert pod is not None
    assert shelf.list_ready("default") == []
    assert shelf.count_waiting("default") == 0
    shelf.release(pod)
    assert [each.name for each in shelf.list_ready("default")] == ["one"]


def test_of_pools_and_nodes_that_come_and_go_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_pods, "SUSPICION_SECONDS", 0.0)
    cache = Cache()
    shelf = ReadyPods(cache)
    for number in range(3):
        put_pod(shelf, cache, f"pod-{number}", node=f"node-{number}")
        join(shelf, f"call-{number}")
        shelf.suspect(f"node-{number}")
    shelf.forget("default")
    assert (len(shelf.list_ready("default")), shelf.count_waiting("default")) == (3, 3)  # it is not over yet
    for number in range(3):
        shelf.leave_line(f"call-{number}")
        cache.pods.remove(f"pod-{number}", f"uid-of-pod-{number}")
    shelf.forget("default")
    assert not shelf._shelves
    assert not shelf._lines
    assert len(shelf._suspected_until) == 1
