"""Order of arrival, fair among profiles; and which pod a call gets."""

from testing.operator_objects import NOW
from voice_operator.cache import Cache
from voice_operator.calls.memory import Call
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.pools.waiting_line import WaitingLine


def call(name: str, arrival: int, profile: str = "default") -> Call:
    return Call(name, arrival, NOW, name=name, profile=profile)


def serve_all(line: WaitingLine) -> list[str]:
    served = []
    while len(line):
        (first,) = line.first(1)
        line.serve(first)
        served.append(first.name)
    return served


def test_one_profiles_calls_are_served_in_order_of_arrival() -> None:
    line = WaitingLine()
    for number in range(3):
        line.join(call(f"call-{number}", number))
    assert serve_all(line) == ["call-0", "call-1", "call-2"]


def test_a_flood_for_one_profile_delays_another_by_one_call() -> None:
    line = WaitingLine()
    for number in range(5):
        line.join(call(f"flood-{number}", number, "flooded"))
    line.join(call("quiet", 5, "quiet"))
    assert serve_all(line)[:3] == ["flood-0", "quiet", "flood-1"]


def test_a_quiet_profile_has_saved_up_nothing() -> None:
    line = WaitingLine()
    for number in range(6):
        line.join(call(f"flood-{number}", number, "flooded"))
    for _ in range(3):
        line.serve(line.first(1)[0])
    for number in range(3):
        line.join(call(f"late-{number}", 10 + number, "late"))
    assert serve_all(line) == ["late-0", "flood-3", "late-1", "flood-4", "late-2", "flood-5"]


def test_a_call_that_lost_its_pod_keeps_its_turn() -> None:
    line = WaitingLine()
    unlucky, other = call("unlucky", 0), call("other", 1)
    line.join(unlucky)
    line.join(other)
    line.serve(unlucky)
    line.join(unlucky)
    assert serve_all(line) == ["unlucky", "other"]


# The shelf


def put_pod(
    shelf: ReadyPods,
    cache: Cache,
    name: str,
    *,
    ready: bool = True,
    template: str = "now",
    version: str = "1",
    node: str = "node",
) -> None:
    labels = {
        "voiceagents.dev/pool": "default",
        "voiceagents.dev/state": "warm",
        "voiceagents.dev/template": template,
    }
    metadata = {
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": version,
        "creationTimestamp": NOW.isoformat(),
        "labels": labels,
    }
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    cache.pods.on_change = shelf.update
    status = {"podIP": "10.0.0.1", "conditions": [condition]}
    cache.pods.put({"metadata": metadata, "spec": {"nodeName": node}, "status": status})


def take(shelf: ReadyPods, count: int) -> list[str | None]:
    """Has so many calls take a pod; returns which they got."""
    taken = []
    for number in range(count):
        waiting = call(f"call-{number}", number)
        shelf.join_line("default", waiting)
        pod = shelf.reserve_for(waiting, "default", "now")
        taken.append(pod.name if pod else None)
    return taken


def test_an_up_to_date_pod_is_preferred_and_of_those_the_first_that_became_ready() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "outdated", template="old")
    put_pod(shelf, cache, "first")
    put_pod(shelf, cache, "second")
    assert take(shelf, 4) == ["first", "second", "outdated", None]


def test_pods_of_a_node_that_did_not_answer_are_taken_last() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "cut-off", node="lost")
    put_pod(shelf, cache, "outdated", template="old")
    shelf.suspect("lost")
    assert take(shelf, 2) == ["outdated", "cut-off"]


def test_only_as_many_calls_as_there_are_pods_may_claim() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "one")
    put_pod(shelf, cache, "starting", ready=False)
    first, second = call("first", 0), call("second", 1)
    assert shelf.join_line("default", first)
    assert not shelf.join_line("default", second)
    starting = cache.pods.get("starting")
    assert starting
    shelf.answered(starting)
    assert shelf.join_line("default", second)
    assert shelf.count_waiting("default") == 2
    assert [each.name for each in shelf.head_of_line("default")] == ["first", "second"]


def test_what_a_pod_answered_counts_until_its_kubelet_has_its_own_word() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "one", ready=False)
    starting = cache.pods.get("one")
    assert starting
    shelf.answered(starting)
    assert [each.name for each in shelf.list_ready("default")] == ["one"]
    put_pod(shelf, cache, "one", version="2")
    put_pod(shelf, cache, "one", ready=False, version="3")
    assert shelf.list_ready("default") == []


def test_a_reserved_pod_is_nobody_elses_until_it_is_released() -> None:
    cache = Cache()
    shelf = ReadyPods(cache)
    put_pod(shelf, cache, "one")
    first = call("first", 0)
    shelf.join_line("default", first)
    pod = shelf.reserve_for(first, "default", "now")
    assert pod is not None
    assert shelf.list_ready("default") == []
    assert shelf.count_waiting("default") == 0
    shelf.release(pod)
    assert [each.name for each in shelf.list_ready("default")] == ["one"]
