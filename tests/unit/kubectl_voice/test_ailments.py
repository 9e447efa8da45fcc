"""The doctor's table: a healthy installation has nothing, and each planted fault is found by name."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from kubectl_voice.ailments import examine
from kubectl_voice.facts import EventFacts, PodFacts
from kubectl_voice.installation import Installation, Quota, Workload
from testing.operator_objects import LOCAL, NOW, ago, joined_conditions, make_pool, make_profile, make_session
from voicesession.conditions import ConditionType, Reason, with_condition
from voicesession.models import AgentPoolStatus, AgentProfileStatus, Phase

LOST_WEBHOOK = 'voice_operator_rooms_polled_total{outcome="lost-webhook"}'
FOREIGN = 'voice_operator_rooms_polled_total{outcome="foreign"}'
LEADING = "voice_operator_leading"
REACHED = 'voice_operator_livekit{outcome="reached"}'
FRESH = 'voice_token_service_webhooks_total{outcome="fresh"}'
FORGED = 'voice_token_service_webhooks_total{outcome="forged"}'


def _ready(reason: Reason, status: str = "True") -> list[object]:
    return with_condition([], ConditionType.READY, status, reason, "In words.", ago(60))  # type: ignore[arg-type,return-value]


def _workload(component: str, wanted: int = 1, ready: int = 1, **secrets: frozenset[str]) -> Workload:
    return Workload(component, f"voice-{component}", wanted, ready, {}, secrets)


POOL = make_pool(providers=[{**LOCAL, "secretRef": {"name": "openai"}}]).model_copy(
    update={"status": AgentPoolStatus.model_validate({"ready": 2, "conditions": _ready(Reason.PODS_WAITING)})}
)
PROFILE = make_profile().model_copy(
    update={"status": AgentProfileStatus.model_validate({"conditions": _ready(Reason.REFERENCES_FOUND)})}
)
HEALTHY = Installation(
    namespace="voice",
    now=NOW,
    crds_lack=(),
    workloads=(
        _workload("operator", 2, 2, keys=frozenset({"signing-key"})),
        _workload("token-service"),
        _workload("pgbouncer"),
    ),
    pods=(PodFacts("pod-a", ago(60), pool="default", state="warm", phase="Running", ready=True),),
    events=(EventFacts(ago(5), True, "Unhealthy", "Readiness probe failed", "Pod pod-a"),),
    pools=(POOL,),
    profiles=(PROFILE,),
    sessions=(make_session(conditions=joined_conditions(), status_phase=Phase.ACTIVE),),
    secrets={"keys": frozenset({"signing-key", "more"}), "openai": frozenset({"api-key"})},
    lease_holder="operator-1_abcd",
    lease_renewed_at=ago(1),
    server_time=NOW,
    dns_ready=True,
    clocks={"operator-1": timedelta(seconds=1), "token-service-1": timedelta(seconds=-1)},
    metrics={"operator": {LOST_WEBHOOK: 1.0, LEADING: 1.0, REACHED: 1.0}, "token-service": {FRESH: 12.0}},
)


def _with_pool(reason: Reason) -> Installation:
    status = AgentPoolStatus.model_validate({"conditions": _ready(reason, "False")})
    return replace(HEALTHY, pools=(POOL.model_copy(update={"status": status}),))


def _with_profile(reason: Reason) -> Installation:
    status = AgentProfileStatus.model_validate({"conditions": _ready(reason, "False")})
    return replace(HEALTHY, profiles=(PROFILE.model_copy(update={"status": status}),))


def _with_pod(**fields: str) -> Installation:
    return replace(HEALTHY, pods=(PodFacts("pod-b", ago(60), pool="default", **fields),))  # type: ignore[arg-type]


def _without(component: str) -> Installation:
    left = tuple(each for each in HEALTHY.workloads if each.component != component)
    return replace(HEALTHY, workloads=left)


def _with(workload: Workload) -> Installation:
    return replace(HEALTHY, workloads=(*_without(workload.component).workloads, workload))


def _with_metrics(operator: dict[str, float], service: dict[str, float]) -> Installation:
    return replace(HEALTHY, metrics={"operator": operator, "token-service": service})


def _with_livekit(outcome: str) -> Installation:
    return _with_metrics({LEADING: 1.0, f'voice_operator_livekit{{outcome="{outcome}"}}': 1.0}, {FRESH: 1.0})


FAULTS: list[tuple[str, Callable[[], Installation]]] = [
    ("crds-missing", lambda: replace(HEALTHY, crds_lack=("AgentPool", "VoiceSession.spec.move"))),
    ("crds-older", lambda: replace(HEALTHY, crds_lack=("VoiceSession.spec.move",))),
    ("operator-missing", lambda: _without("operator")),
    ("token-service-scaled-to-0", lambda: _with(_workload("token-service", 0, 0))),
    ("pgbouncer-down", lambda: _with(_workload("pgbouncer", 1, 0))),
    ("operator-short", lambda: _with(_workload("operator", 2, 1))),
    ("no-leader", lambda: replace(HEALTHY, lease_renewed_at=ago(40), metrics={})),
    ("no-leader", lambda: replace(HEALTHY, lease_holder=None, lease_renewed_at=None, metrics={})),
    ("migration-failed", lambda: replace(HEALTHY, failed_job="BackoffLimitExceeded: too often")),
    ("secret-missing", lambda: replace(HEALTHY, secrets={**HEALTHY.secrets, "openai": None})),
    ("secret-key-missing", lambda: replace(HEALTHY, secrets={**HEALTHY.secrets, "openai": frozenset({"key"})})),
    ("image", lambda: _with_pod(waiting="ImagePullBackOff")),
    ("pod-config", lambda: _with_pod(waiting="CreateContainerConfigError")),
    ("crash-loop", lambda: _with_pod(waiting="CrashLoopBackOff", ended="Error, exit code 1")),
    ("unschedulable", lambda: _with_pod(unschedulable="0/2 nodes are available")),
    ("pool-short", lambda: _with_pool(Reason.IMAGE_PULL_FAILED)),
    ("profile-unserved", lambda: _with_profile(Reason.POOL_MISSING)),
    ("quota-full", lambda: replace(HEALTHY, full_quotas=(Quota("q", "pods", "10"),))),
    ("unreadable", lambda: replace(HEALTHY, unreadable=("AgentPool odd",))),
    ("dns-down", lambda: replace(HEALTHY, dns_ready=False)),
    ("livekit-unreachable", lambda: replace(HEALTHY, livekit_error="ws://lk:7880: refused")),
    (
        "livekit-unavailable",
        lambda: replace(HEALTHY, sessions=(make_session(status_reason="LiveKitUnavailable", status_message="401"),)),
    ),
    (
        "agents-do-not-join",
        lambda: replace(HEALTHY, sessions=(make_session(status_reason="AssignmentFailed", status_message="30 s"),)),
    ),
    ("webhooks-never-came", lambda: _with_metrics({LOST_WEBHOOK: 3.0}, {FRESH: 0.0})),
    ("webhooks-of-another-key", lambda: _with_metrics({}, {FRESH: 1.0, FORGED: 2.0})),
    ("livekit-unresolved", lambda: _with_livekit("unresolved")),
    ("livekit-unanswered", lambda: _with_livekit("unanswered")),
    ("livekit-refused", lambda: _with_livekit("refused")),
    ("clock", lambda: replace(HEALTHY, lease_renewed_at=NOW + timedelta(seconds=90), clocks={})),
    ("clock", lambda: replace(HEALTHY, lease_renewed_at=ago(50), clocks={"operator-1": timedelta(seconds=-50)})),
    (
        "other-agent",
        lambda: replace(HEALTHY, events=(EventFacts(ago(9), True, "OtherAgent", "bot", "VoiceSession call"),)),
    ),
    ("undelivered", lambda: replace(HEALTHY, undelivered_rows=4)),
]


def test_nothing_is_found_in_a_healthy_installation() -> None:
    assert examine(HEALTHY) == []


@pytest.mark.parametrize(("code", "make"), FAULTS, ids=[code for code, _ in FAULTS])
def test_a_planted_fault_alone_is_found_with_what_to_do(code: str, make: Callable[[], Installation]) -> None:
    [found] = examine(make())
    assert found.code == code
    assert found.sentence
    assert found.advice


def test_pods_of_one_pool_with_the_same_trouble_are_told_of_once() -> None:
    pods = [PodFacts(f"pod-{number}", ago(60), pool="default", waiting="ImagePullBackOff") for number in range(3)]
    other = PodFacts("other", ago(60), pool="other", waiting="ImagePullBackOff")
    first, second = examine(replace(HEALTHY, pods=(*pods, other)))
    assert first.sentence == "Pod pod-0: ImagePullBackOff It is the same with 2 more of them."
    assert second.sentence == "Pod other: ImagePullBackOff"


def test_what_may_not_be_read_is_no_fault() -> None:
    blind = Installation(namespace="voice", now=NOW, workloads=HEALTHY.workloads, unread=("Secrets: forbidden",))
    assert examine(blind) == []


def test_an_old_word_of_another_agent_is_none_of_today() -> None:
    told = EventFacts(ago(3600), True, "OtherAgent", "bot", "VoiceSession call")
    assert examine(replace(HEALTHY, events=(told,))) == []


def test_a_newer_program_beside_an_installation_that_lacks_nothing_is_no_fault() -> None:
    metrics = {"operator": {**HEALTHY.metrics["operator"], "voice_operator_crd_fields_missing": 0.0}}
    [found] = examine(replace(HEALTHY, crds_lack=("VoiceSession.spec.move",), metrics=metrics))
    assert (found.code, found.weight.name) == ("crds-older", "NOTE")


def test_another_installations_rooms_are_told_and_no_fault() -> None:
    [found] = examine(_with_metrics({FOREIGN: 2.0}, {FRESH: 1.0}))
    assert (found.code, found.weight.name) == ("foreign-rooms", "NOTE")
