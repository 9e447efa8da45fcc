"""How many pods a pool creates and which it deletes, and what it says of itself."""

from dataclasses import replace
from typing import Any

import pytest

from testing.operator_objects import NOW, ago, make_claimed_pod, make_pod, make_pool, make_starting_pod
from voice_operator.pods.agent_pod import AgentPod, PodExit, Trouble
from voice_operator.pools.decide import (
    PoolMemory,
    PoolStep,
    PoolView,
    build_pool_status,
    decide_pool,
    find_stuck,
    next_creation_at,
    target,
)
from voicesession.assignment import PROTOCOL, TerminationMessage
from voicesession.conditions import Reason
from voicesession.models import Warm


def view(pods: list[AgentPod], warm: dict[str, Any] | None = None, **fields: Any) -> PoolView:
    pool = make_pool(warm={"min": 2, "max": 100, "maxStarting": 4, **(warm or {})})
    return PoolView(**{"pool": pool, "template": "now", "pods": pods, "now": NOW, **fields})


def ready(count: int, template: str = "now", prefix: str = "r", **fields: Any) -> list[AgentPod]:
    return [make_pod(f"{prefix}{number}", template=template, **fields) for number in range(count)]


def failed(
    name: str, created: float = 5, message: str | None = None, reason: str = Reason.CODE_IMPORT_FAILED
) -> AgentPod:
    termination = TerminationMessage(reason=reason, message=message) if message else None
    return make_pod(
        name, ready=False, created_at=ago(created), exit=PodExit(1, False, termination, "Error, exit code 1")
    )


def names(step: PoolStep) -> list[str]:
    return [pod.name for pod in step.delete]


# The target


@pytest.mark.parametrize(
    ("warm", "in_use", "waiting", "wanted"),
    [
        ({"min": 2}, 0, 0, 2),
        ({"min": 2}, 50, 0, 2),
        ({"min": 2, "buffer": 5}, 0, 0, 5),
        ({"min": 2, "buffer": "20%"}, 3, 0, 2),
        ({"min": 2, "buffer": "20%"}, 11, 0, 3),
        ({"min": 2, "buffer": "100%", "max": 10}, 50, 0, 10),
        ({"min": 0}, 0, 3, 3),
        ({"min": 0, "max": 0}, 0, 1, 1),
        ({"min": 4, "max": 2}, 0, 0, 2),
    ],
)
def test_the_target_is_the_minimum_or_the_buffer_and_a_pod_for_each_waiter(
    warm: dict[str, Any], in_use: int, waiting: int, wanted: int
) -> None:
    assert target(Warm(**warm), in_use, waiting) == wanted


# Creation


def test_missing_pods_are_created() -> None:
    assert decide_pool(view(ready(1))).create == 1


def test_pods_that_have_a_call_are_replaced() -> None:
    claimed = make_claimed_pod(claimed_at=ago(1))
    assert decide_pool(view([*ready(2), claimed])).create == 0
    assert decide_pool(view([*ready(1), claimed])).create == 1


def test_a_claimed_pod_is_replaced_only_when_its_agent_has_had_time_to_greet() -> None:
    pods = [*ready(1), make_claimed_pod("c1", claimed_at=ago(0.9)), make_claimed_pod("c2", claimed_at=ago(30))]
    step = decide_pool(view(pods, {"min": 3}))
    assert (step.create, step.look_again_at) == (1, ago(-0.1))
    assert decide_pool(view(ready(2), reserved=frozenset({"uid-of-r0"}))).create == 0


def test_while_calls_wait_claimed_pods_are_replaced_at_once() -> None:
    pods = [make_claimed_pod("c1"), make_claimed_pod("c2")]
    assert decide_pool(view(pods, waiting=1)).create == 3


def test_no_more_start_at_once_than_allowed() -> None:
    starting = [make_starting_pod(f"s{number}") for number in range(3)]
    assert decide_pool(view(starting, {"min": 20, "maxStarting": 4})).create == 1
    assert decide_pool(view(starting, {"min": 20, "maxStarting": 3})).create == 0


def test_a_starting_pod_that_answered_the_operator_counts_as_ready() -> None:
    starting = make_starting_pod()
    assert decide_pool(view([starting], {"min": 2, "maxStarting": 1})).create == 0
    answered = view([starting], {"min": 2, "maxStarting": 1}, answering=frozenset({starting.uid}))
    assert decide_pool(answered).create == 1


@pytest.mark.parametrize(
    ("failures", "last", "create"), [(0, 0, 2), (1, 0.5, 0), (1, 1.0, 2), (2, 1.9, 0), (3, 3.9, 0), (3, 4.1, 1)]
)
def test_failures_delay_the_next_creation_and_a_crash_loop_creates_one_at_a_time(
    failures: int, last: float, create: int
) -> None:
    memory = PoolMemory(failures=failures, last_failure_at=ago(last))
    step = decide_pool(view([], memory=memory))
    assert step.create == create
    if create == 0:
        assert step.look_again_at == next_creation_at(memory)


def test_the_delay_has_a_ceiling() -> None:
    memory = PoolMemory(failures=60, last_failure_at=NOW)
    assert next_creation_at(memory) == ago(-300)


def test_a_pod_that_could_not_be_created_is_tried_again_alone_and_sooner_than_one_that_crashed() -> None:
    quota = Trouble(Reason.QUOTA_EXCEEDED, "quota")
    memory = PoolMemory(creation_error=quota, refusals=60, refused_at=ago(15.1))
    assert decide_pool(view([], memory=memory)).create == 1
    step = decide_pool(view([], memory=PoolMemory(creation_error=quota, refusals=60, refused_at=ago(14))))
    assert (step.create, step.look_again_at) == (0, ago(-1))


@pytest.mark.parametrize(
    "pod",
    [
        make_pod(created_at=ago(30), ready_changed_at=ago(10)),
        make_claimed_pod(created_at=ago(9)),
    ],
)
def test_a_later_pod_that_stays_ready_or_gets_a_call_ends_a_row_of_failures(pod: AgentPod) -> None:
    memory = PoolMemory(failures=5, last_failure_at=ago(10.5))
    assert decide_pool(view([pod], memory=memory)).memory.failures == 0


@pytest.mark.parametrize("pod", [make_pod(ready_changed_at=ago(50)), make_claimed_pod(created_at=ago(50))])
def test_a_pod_from_before_a_row_of_failures_does_not_end_it(pod: AgentPod) -> None:
    memory = PoolMemory(failures=5, last_failure_at=ago(1))
    step = decide_pool(view([pod], memory=memory))
    assert (step.memory.failures, step.create) == (5, 0)


def test_a_pod_that_was_ready_for_a_moment_does_not() -> None:
    memory = PoolMemory(failures=5, last_failure_at=ago(30))
    step = decide_pool(view([make_pod(ready_changed_at=ago(9))], memory=memory))
    assert step.memory.failures == 5
    assert step.look_again_at == ago(-1)


# Scaling down


def test_surplus_is_deleted_only_after_the_delay() -> None:
    pods = ready(4)
    first = decide_pool(view(pods, {"scaleDownDelaySeconds": 60}))
    assert first.delete == ()
    assert first.memory.surplus_since == NOW
    assert first.look_again_at == ago(-60)
    early = PoolMemory(surplus_since=ago(59))
    assert decide_pool(view(pods, {"scaleDownDelaySeconds": 60}, memory=early)).delete == ()
    due = PoolMemory(surplus_since=ago(60))
    assert len(decide_pool(view(pods, {"scaleDownDelaySeconds": 60}, memory=due)).delete) == 2


def test_a_break_in_the_surplus_begins_the_delay_anew() -> None:
    assert decide_pool(view(ready(2), memory=PoolMemory(surplus_since=ago(59)))).memory.surplus_since is None


def test_pods_that_are_not_ready_go_first_then_the_youngest() -> None:
    old, young = make_pod("old", created_at=ago(50)), make_pod("young", created_at=ago(5))
    memory = PoolMemory(surplus_since=ago(100))
    assert names(decide_pool(view([old, young, make_starting_pod("s")], {"min": 1}, memory=memory))) == ["s", "young"]


# A changed template


def test_a_change_creates_beside_the_old_pods_and_deletes_none_of_them_yet() -> None:
    step = decide_pool(view(ready(4, "old"), {"min": 4, "maxStarting": 2}))
    assert (step.create, step.delete) == (2, ())


def test_for_each_new_pod_that_is_ready_one_old_pod_goes_the_oldest_first() -> None:
    old = [make_pod("a", template="old", created_at=ago(20)), make_pod("b", template="old", created_at=ago(30))]
    assert names(decide_pool(view([*old, *ready(1, prefix="n")]))) == ["b"]
    assert names(decide_pool(view([*old, *ready(2, prefix="n")]))) == ["b", "a"]


def test_old_pods_that_are_not_ready_go_at_once() -> None:
    assert names(decide_pool(view([make_starting_pod("s", template="old"), *ready(2)]))) == ["s"]


def test_where_there_is_no_room_beside_the_old_pods_one_makes_room_and_the_last_never() -> None:
    stuck = make_starting_pod("stuck", running_since=None, trouble=Trouble(Reason.UNSCHEDULABLE, "no room"))
    assert len(decide_pool(view([*ready(2, "old"), stuck])).delete) == 1
    assert decide_pool(view([*ready(1, "old"), stuck], {"min": 1})).delete == ()


@pytest.mark.parametrize("trouble", ["unschedulable", "quota"])
def test_where_there_is_no_room_beside_the_old_pods_the_pool_is_one_short_at_most(trouble: str) -> None:
    stuck = make_starting_pod("stuck", running_since=None, trouble=Trouble(Reason.UNSCHEDULABLE, "no room"))
    refused = PoolMemory(creation_error=Trouble(Reason.QUOTA_EXCEEDED, "quota"), refusals=1, refused_at=NOW)
    pods, memory = ([stuck], PoolMemory()) if trouble == "unschedulable" else ([], refused)
    assert len(decide_pool(view([*ready(4, "old"), *pods], {"min": 4}, memory=memory)).delete) == 1
    assert decide_pool(view([*ready(3, "old"), *pods], {"min": 4}, memory=memory)).delete == ()


def test_a_new_image_that_cannot_be_pulled_costs_no_old_pod() -> None:
    broken = make_starting_pod("broken", trouble=Trouble(Reason.IMAGE_PULL_FAILED, "no such image"))
    assert decide_pool(view([*ready(4, "old"), broken], {"min": 4})).delete == ()


def test_old_pods_that_have_a_call_stay() -> None:
    assert decide_pool(view([make_claimed_pod(template="old"), *ready(2)])).delete == ()


# Broken pods


@pytest.mark.parametrize(
    ("changes", "replaced"),
    [
        ({"ready_changed_at": ago(9)}, False),
        ({"ready_changed_at": ago(10)}, True),
        ({"running_since": ago(119), "ready_changed_at": None}, False),
        ({"running_since": ago(120), "ready_changed_at": None}, True),
        ({"running_since": None, "ready_changed_at": ago(500)}, False),
    ],
)
def test_a_pod_that_answers_no_more_or_never_did_is_replaced(changes: dict[str, Any], replaced: bool) -> None:
    pod = make_pod("broken", ready=False, **changes)
    step = decide_pool(view([pod, *ready(1)]))
    assert names(step) == (["broken"] if replaced else [])
    assert step.create == (1 if replaced else 0)


def test_a_starting_pod_that_answered_the_operator_and_never_its_kubelet_is_replaced() -> None:
    pod = make_starting_pod("broken", running_since=ago(120))
    assert names(decide_pool(view([pod, *ready(2)], answering=frozenset({pod.uid})))) == ["broken"]


def test_the_newest_failed_pod_stays_for_its_logs_until_the_failures_are_over() -> None:
    broken = [failed("older", 9), failed("newer", 3)]
    memory = PoolMemory(failures=2, last_failure_at=ago(1))
    assert names(decide_pool(view([*broken, *ready(1)], memory=memory))) == ["older"]
    assert names(decide_pool(view([*broken, *ready(2)]))) == ["newer", "older"]


# What it says


def reason(**fields: Any) -> tuple[str, str]:
    (condition,) = build_pool_status(view(**fields)).conditions
    return condition.reason, condition.message


def test_a_full_pool_says_so() -> None:
    status = build_pool_status(view([*ready(2), make_starting_pod(), make_claimed_pod("c")], waiting=0))
    assert (status.replicas, status.ready, status.starting, status.in_use) == (3, 2, 1, 1)
    assert status.selector == "voiceagents.dev/pool=default,voiceagents.dev/state=warm"
    assert status.conditions[0].status == "True"
    assert reason(pods=ready(2))[0] == "PodsWaiting"
    assert reason(pods=ready(1))[0] == "PodsStarting"


@pytest.mark.parametrize(("pods", "status"), [(ready(2), "True"), (ready(1), "False")])
def test_who_waits_for_a_pool_sees_that_a_status_is_of_its_present_spec(pods: list[AgentPod], status: str) -> None:
    """As kstatus reads it, by which Flux and Helm 4 wait."""
    told = build_pool_status(view(pods, pool=make_pool(generation=7, warm={"min": 2})))
    assert [(each.type, each.status) for each in told.conditions] == [("Ready", status)]
    assert told.observed_generation == 7


def test_code_that_cannot_be_imported_is_told_by_its_errors_last_line() -> None:
    assert reason(pods=[failed("f", message="ImportError: no acme")]) == ("CodeImportFailed", "ImportError: no acme")


def test_an_image_that_speaks_otherwise_is_told_of_in_its_words() -> None:
    pods = [failed("f", message="this image speaks protocol 1", reason="ProtocolUnknown")]
    assert reason(pods=pods) == ("ProtocolUnknown", "this image speaks protocol 1")


def test_pods_of_an_operator_that_spoke_otherwise_are_none_and_go_at_once() -> None:
    step = decide_pool(view([*ready(2, template="old", prefix="o", protocol=PROTOCOL + 1)]))
    assert (step.create, names(step)) == (2, ["o0", "o1"])
    assert decide_pool(view([*ready(2, template="old", prefix="o")])).delete == ()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"memory": PoolMemory(3, NOW)}, "CrashLooping"),
        ({"pods": [replace(failed("f"), evicted=True)], "memory": PoolMemory(3, NOW)}, "Evicted"),
        ({"memory": PoolMemory(1, NOW, creation_error=Trouble(Reason.QUOTA_EXCEEDED, "quota"))}, "QuotaExceeded"),
        (
            {"pods": [make_starting_pod(trouble=Trouble(Reason.IMAGE_PULL_FAILED, "no image"))]},
            "ImagePullFailed",
        ),
    ],
)
def test_what_keeps_pods_from_starting_is_the_reason(fields: dict[str, Any], expected: str) -> None:
    assert reason(**{"pods": [], **fields})[0] == expected


def test_a_pool_that_wants_the_operators_own_rights_gets_no_pod_and_is_told_so() -> None:
    wanted = view([], own_accounts=frozenset({"own"}), pool=make_pool(pod={"serviceAccountName": "own"}))
    assert decide_pool(wanted).create == 0
    (condition,) = build_pool_status(wanted).conditions
    assert condition.reason == "PodConfigInvalid"
    assert "pod.serviceAccountName is 'own'" in condition.message
    theirs = view([], own_accounts=frozenset({"own"}), pool=make_pool(pod={"serviceAccountName": "theirs"}))
    assert decide_pool(theirs).create > 0


def test_what_the_kubelet_says_of_a_stuck_pod_is_the_reason_unless_a_pods_status_tells_more() -> None:
    said = Trouble(Reason.POD_CONFIG_INVALID, "no secret")
    assert reason(pods=[make_starting_pod(running_since=None)], stuck_trouble=said) == ("PodConfigInvalid", "no secret")
    unpulled = make_starting_pod(trouble=Trouble(Reason.IMAGE_PULL_FAILED, "no image"))
    assert reason(pods=[unpulled], stuck_trouble=said)[0] == "ImagePullFailed"
    assert reason(pods=ready(2), stuck_trouble=said)[0] == "PodsWaiting"


@pytest.mark.parametrize(
    ("changes", "stuck"),
    [
        ({}, True),
        ({"created_at": ago(1.9)}, False),
        ({"node": None}, False),
        ({"running_since": ago(1)}, False),
        ({"trouble": Trouble(Reason.IMAGE_PULL_FAILED, "no image")}, False),
        ({"exit": PodExit(1, False, None, "Error")}, False),
    ],
)
def test_a_pod_with_a_node_and_no_container_is_asked_about(changes: dict[str, Any], stuck: bool) -> None:
    pod = make_starting_pod("stuck", **{"running_since": None, "created_at": ago(2), **changes})
    assert find_stuck(view([*ready(1), pod])) == (pod if stuck else None)


def test_a_pool_looks_again_when_a_pod_would_be_stuck() -> None:
    pod = make_starting_pod(running_since=None, created_at=ago(0.5))
    assert decide_pool(view([*ready(1), pod])).look_again_at == ago(-1.5)


def test_a_refill_that_crash_loops_is_told_although_a_pod_is_ready() -> None:
    assert reason(pods=ready(1), memory=PoolMemory(3, NOW))[0] == "CrashLooping"


def test_trouble_of_the_past_is_not_told_once_a_pod_is_ready() -> None:
    assert reason(pods=[failed("f", message="x"), *ready(2)])[0] == "PodsWaiting"


def test_the_transition_time_moves_only_with_the_status() -> None:
    before = build_pool_status(view(ready(2), now=ago(60))).conditions
    pool = make_pool(warm={"min": 2}).model_copy(
        update={"status": build_pool_status(view(ready(2))).model_copy(update={"conditions": before})}
    )
    (again,) = build_pool_status(PoolView(pool=pool, template="now", pods=ready(2), now=NOW)).conditions
    assert again.last_transition_time == ago(60)
