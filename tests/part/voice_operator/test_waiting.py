"""Calls that find no pod ready, or may not begin: who waits for how long, and what they are told."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from livekit import api

from kube.client import InvalidError
from testing.guest import guest_in
from testing.livekit import LiveKitServer
from testing.operator_cluster import PROVIDER, OperatorCluster, operator_cluster
from testing.stub_pod import Exit
from testing.waiting import eventually
from voicesession.assignment import TerminationMessage
from voicesession.conditions import Reason
from voicesession.customer_words import retry_after
from voicesession.models import EndReason, VoiceSession
from voicesession.names import AGENT_POOLS, STATE_LABEL

PATIENCE = 2.5


@pytest.fixture
async def impatient(api_server: Path, livekit: LiveKitServer, tmp_path: Path) -> AsyncIterator[OperatorCluster]:
    """A cluster whose operator gives up a call without a pod after 2.5 s."""
    async with operator_cluster(api_server, livekit, tmp_path, no_pod_timeout_seconds=PATIENCE) as made:
        yield made


def _joined_at(session: VoiceSession) -> datetime:
    assert session.status.agent_joined_at is not None
    return session.status.agent_joined_at


async def _rooms(livekit: LiveKitServer, name: str) -> int:
    async with livekit.client() as client:
        return len((await client.room.list_rooms(api.ListRoomsRequest(names=[name]))).rooms)


# Cold starts


async def test_a_call_without_a_ready_pod_raises_the_target_and_gets_the_next_pod(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 0})
    await cluster.create_profile()
    cluster.start_operator()
    await cluster.create_session("call", room="room")
    active = await cluster.wait_for_phase("call", "Active")
    assert active.status.start_type == "Cold"


async def test_a_starting_pod_is_asked_itself_before_its_kubelet_calls_it_ready(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 0})
    await cluster.create_profile()
    cluster.kubelet.script.ready_after = 60
    cluster.start_operator()
    await cluster.create_session("call", room="room")
    await cluster.wait_for_phase("call", "Active", seconds=10)


async def test_a_call_whose_customer_gave_up_gets_no_pod(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 0})
    await cluster.create_profile()
    cluster.kubelet.script.unschedulable = "no node has room"
    cluster.start_operator()
    await cluster.create_session("gives-up", room="room")
    await eventually(partial(_is_noticed, cluster, "gives-up"))
    await cluster.api.end_session("gives-up", EndReason.PARTICIPANT_LEFT)
    ended = await cluster.wait_for_phase("gives-up", "Ended")
    assert (ended.status.reason, ended.status.end_reason) == ("CustomerGone", EndReason.PARTICIPANT_LEFT)
    assert ended.status.pod_name is None
    assert not cluster.stubs_with(ended)


async def _is_noticed(cluster: OperatorCluster, name: str) -> bool:
    session = await cluster.session(name)
    return session is not None and bool(session.status.conditions)


async def test_calls_get_pods_in_order_of_arrival(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 0, "maxStarting": 1})
    await cluster.create_profile()
    cluster.kubelet.script.ready_after = 0.4
    cluster.kubelet.pod_script.ready = False  # so that only the kubelet says ready, one pod after the other
    cluster.start_operator()
    names = [f"call-{number}" for number in range(4)]
    for name in names:
        await cluster.create_session(name, room=f"room-{name}")
        await eventually(partial(_is_noticed, cluster, name))
    done = [await cluster.wait_for_phase(name, "Active") for name in names]
    joined = [_joined_at(session) for session in done]
    assert joined == sorted(joined)


async def test_a_flood_for_one_profile_delays_another_by_one_call(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 0, "maxStarting": 1})
    await cluster.create_profile("flooded")
    await cluster.create_profile("quiet")
    cluster.kubelet.script.ready_after = 0.5
    cluster.kubelet.pod_script.ready = False
    cluster.start_operator()
    flood = [f"flood-{number}" for number in range(6)]
    for name in flood:
        await cluster.create_session(name, room=f"room-{name}", profile="flooded")
    await cluster.create_session("quiet", room="room-quiet", profile="quiet")
    quiet = await cluster.wait_for_phase("quiet", "Active")
    done = [await cluster.wait_for_phase(name, "Active") for name in flood]
    joined = [_joined_at(each) for each in done]
    assert sum(at < _joined_at(quiet) for at in joined) <= 2


# Nobody comes


async def test_a_customer_without_a_pod_is_told_and_the_room_is_closed(
    impatient: OperatorCluster, livekit: LiveKitServer
) -> None:
    await impatient.create_pool(warm={"min": 0})
    await impatient.create_profile()
    impatient.kubelet.script.ready_after = 60
    impatient.kubelet.pod_script.ready = False
    impatient.start_operator()
    async with guest_in(livekit) as customer:
        await impatient.create_session("call", room=customer.room.name)
        waiting = await impatient.wait_for_phase("call", "Pending")
        assert waiting.status.reason == "WaitingForPod"
        failed = await impatient.wait_for_phase("call", "Failed")
        assert failed.status.reason == "NoCapacity"
        assert "'default'" in (failed.status.message or "")
        await customer.until_gone()
    (heard,) = customer.heard
    assert heard["type"] == "no-capacity"
    assert heard["reason"] == "NoCapacity"
    assert heard["retryAfterSeconds"] == retry_after(Reason.NO_CAPACITY)
    assert "'default'" not in heard["message"]  # which pool lacks pods is not the customer's business
    assert await _rooms(livekit, customer.room.name) == 0


@pytest.mark.parametrize(
    ("how", "reason", "words"),
    [
        (
            {"unschedulable": "0/3 nodes are available: 3 Insufficient memory."},
            "Unschedulable",
            "3 Insufficient memory",
        ),
        ({"image_error": 'Back-off pulling image "agent:nope"'}, "ImagePullFailed", "agent:nope"),
        (
            {
                "exits": Exit(
                    1,
                    "Error",
                    TerminationMessage(
                        reason="CodeImportFailed", message="ModuleNotFoundError: No module named 'acme'"
                    ).model_dump_json(),
                )
            },
            "CodeImportFailed",
            "No module named 'acme'",
        ),
    ],
)
async def test_a_call_fails_in_the_words_of_what_keeps_pods_from_starting(
    impatient: OperatorCluster, how: dict[str, Any], reason: str, words: str
) -> None:
    for name, value in how.items():
        setattr(impatient.kubelet.script, name, value)
    await impatient.create_pool(warm={"min": 0})
    await impatient.create_profile()
    impatient.start_operator()
    await impatient.create_session("call", room="room")
    failed = await impatient.wait_for_phase("call", "Failed")
    assert failed.status.reason == reason
    assert words in (failed.status.message or "")

    async def told() -> bool:
        pool = await impatient.get(AGENT_POOLS, "default")
        assert pool is not None
        return any(
            condition["reason"] == reason and words in condition["message"]
            for condition in pool.get("status", {}).get("conditions", [])
        )

    await eventually(told)


@pytest.mark.parametrize(
    ("event", "said", "reason", "words"),
    [
        (
            "FailedMount",
            'MountVolume.SetUp failed for volume "key-cloud" : references non-existent secret key: token',
            "PodConfigInvalid",
            "Secret 'opnai'",
        ),
        (
            "FailedCreatePodSandBox",
            "Failed to create pod sandbox: failed to allocate for range 0: no IP addresses available in range set",
            "PodSandboxFailed",
            "no IP addresses available",
        ),
    ],
)
async def test_what_the_kubelet_tells_by_events_alone_is_the_pools_and_the_calls_reason(
    impatient: OperatorCluster, event: str, said: str, reason: str, words: str
) -> None:
    impatient.kubelet.script.stuck = (event, said)
    provider = {**PROVIDER, "name": "cloud", "secretRef": {"name": "opnai", "key": "token"}}
    await impatient.create_pool(providers=[provider])
    await impatient.create_profile()
    impatient.start_operator()

    async def told() -> bool:
        (condition,) = ((await impatient.get(AGENT_POOLS, "default")) or {}).get("status", {}).get("conditions") or [{}]
        return condition.get("reason") == reason and words in condition["message"]

    await eventually(told)
    await impatient.create_session("call", room="room")
    failed = await impatient.wait_for_phase("call", "Failed")
    assert failed.status.reason == reason
    assert words in (failed.status.message or "")

    # The fault is mended: the pool says so.
    impatient.kubelet.script.stuck = None
    await impatient.patch(AGENT_POOLS, "default", {"spec": {"providers": [PROVIDER]}})
    await impatient.wait_for_warm()
    await eventually(lambda: _is_told(impatient, "PodsWaiting"))


async def _is_told(cluster: OperatorCluster, reason: str) -> bool:
    pool = await cluster.get(AGENT_POOLS, "default")
    assert pool is not None
    return [condition["reason"] for condition in pool["status"]["conditions"]] == [reason]


async def test_a_quota_is_named_where_it_keeps_pods_from_being_created(
    impatient: OperatorCluster, caplog: pytest.LogCaptureFixture
) -> None:
    quotas = f"/api/v1/namespaces/{impatient.namespace}/resourcequotas"
    quota = {"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}}
    await impatient.api.request("POST", quotas, quota)
    status = {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}
    await impatient.api.request("PATCH", f"{quotas}/no-pods/status", status, "application/merge-patch+json")
    await impatient.create_pool(warm={"min": 0})
    await impatient.create_profile()
    impatient.start_operator()
    await impatient.create_session("call", room="room")
    failed = await impatient.wait_for_phase("call", "Failed")
    assert failed.status.reason == "QuotaExceeded"
    assert "no-pods" in (failed.status.message or "")
    # However often it was tried.
    assert [record.message for record in caplog.records].count("a pod could not be created") == 1


async def test_a_call_whose_claim_the_api_server_always_refuses_fails_in_its_words(
    impatient: OperatorCluster, livekit: LiveKitServer
) -> None:
    await impatient.create_pool()
    await impatient.create_profile()
    impatient.start_operator()
    (pod,) = await impatient.wait_for_warm(1)
    await _forbid_claims(impatient, pod["metadata"]["name"])
    async with guest_in(livekit) as customer:
        await impatient.create_session("call", room=customer.room.name)
        failed = await impatient.wait_for_phase("call", "Failed")
        await customer.until_gone()
    assert failed.status.reason == "AssignmentFailed"
    assert "no claims on Sundays" in (failed.status.message or "")
    assert [heard["reason"] for heard in customer.heard] == ["AssignmentFailed"]


async def _forbid_claims(cluster: OperatorCluster, pod: str) -> None:
    """Has the API server refuse claims by an admission policy, as a platform may have one; returns when it does."""
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
    name = f"no-claims-{cluster.namespace}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]}
    check = {
        "expression": f"object.metadata.labels['{STATE_LABEL}'] != 'claimed'",
        "message": "no claims on Sundays",
    }
    spec: dict[str, Any] = {"matchConstraints": {"resourceRules": [rule]}, "validations": [check]}
    await cluster.api.request("POST", policies, {"metadata": {"name": name}, "spec": spec})
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": cluster.namespace}}}
    spec = {"policyName": name, "validationActions": ["Deny"], "matchResources": here}
    await cluster.api.request("POST", bindings, {"metadata": {"name": name}, "spec": spec})
    trial = {"metadata": {"labels": {STATE_LABEL: "claimed"}}}
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}?dryRun=All"

    async def is_refused() -> bool:
        try:
            await cluster.api.request("PATCH", path, trial, "application/merge-patch+json")
        except InvalidError:
            return True
        return False

    await eventually(is_refused)


# Not admitted


async def test_a_call_beyond_its_profiles_limit_is_refused_and_told(
    cluster: OperatorCluster, livekit: LiveKitServer
) -> None:
    await cluster.create_pool(warm={"min": 2})
    await cluster.create_profile(maxSessions=1)
    cluster.start_operator()
    await cluster.wait_for_warm(2)
    await cluster.create_session("first", room="room-first")
    first = await cluster.wait_for_phase("first", "Active")
    async with guest_in(livekit) as customer:
        await cluster.create_session("second", room=customer.room.name)
        refused = await cluster.wait_for_phase("second", "Failed")
        assert refused.status.reason == "LimitReached"
        await customer.until_gone()
    assert [heard["type"] for heard in customer.heard] == ["refused"]

    await cluster.stub_of(first).finish(EndReason.PARTICIPANT_LEFT)
    await cluster.wait_for_phase("first", "Ended")
    await cluster.create_session("third", room="room-third")
    await cluster.wait_for_phase("third", "Active")


async def test_of_many_calls_at_once_no_more_than_the_limit_begin(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 6})
    await cluster.create_profile(maxSessions=2)
    cluster.start_operator()
    await cluster.wait_for_warm(6)
    names = [f"call-{number}" for number in range(6)]
    await asyncio.gather(*(cluster.create_session(name, room=f"room-{name}") for name in names))
    settled = [await cluster.wait_for_phase(name, "Active", "Failed") for name in names]
    assert sum(each.status.phase == "Active" for each in settled) == 2
    assert {each.status.reason for each in settled if each.status.phase == "Failed"} == {"LimitReached"}


async def test_a_tenants_limit_binds_that_tenant_only(api_server: Path, livekit: LiveKitServer, tmp_path: Path) -> None:
    async with operator_cluster(api_server, livekit, tmp_path, tenant_max_sessions=1) as cluster:
        await cluster.create_pool(warm={"min": 3})
        await cluster.create_profile()
        cluster.start_operator()
        await cluster.wait_for_warm(3)
        await cluster.create_session("acme-1", room="room-1", tenant="acme")
        await cluster.wait_for_phase("acme-1", "Active")
        await cluster.create_session("acme-2", room="room-2", tenant="acme")
        await cluster.create_session("other", room="room-3", tenant="other")
        refused = await cluster.wait_for_phase("acme-2", "Failed")
        assert refused.status.reason == "LimitReached"
        await cluster.wait_for_phase("other", "Active")


# What is missing


@pytest.mark.parametrize(
    ("profile", "spec", "reason", "words"),
    [
        (None, {"profile": "nobody"}, "ProfileMissing", "'nobody'"),
        ({"pool": "nowhere"}, {}, "PoolMissing", "'nowhere'"),
        ({}, {"llmProvider": "nothing"}, "ProviderMissing", "it has: local"),
    ],
)
async def test_a_call_for_what_does_not_exist_says_what_to_do(
    cluster: OperatorCluster, profile: dict[str, Any] | None, spec: dict[str, Any], reason: str, words: str
) -> None:
    await cluster.create_pool()
    if profile is not None:
        await cluster.create_profile(**profile)
    cluster.start_operator()
    await cluster.create_session("call", room="room", **spec)
    pending = await cluster.wait_for_phase("call", "Pending")
    assert pending.status.reason == reason
    failed = await cluster.wait_for_phase("call", "Failed")
    assert failed.status.reason == reason
    assert words in (failed.status.message or "")


async def test_a_customer_of_a_profile_that_does_not_exist_is_not_told_to_wait(
    cluster: OperatorCluster, livekit: LiveKitServer
) -> None:
    cluster.start_operator()
    async with guest_in(livekit) as customer:
        await cluster.create_session("call", room=customer.room.name, profile="nobody")
        await cluster.wait_for_phase("call", "Failed")
        await customer.until_gone()
    (heard,) = customer.heard
    assert (heard["type"], heard["reason"]) == ("refused", "ProfileMissing")
    assert "nobody" not in heard["message"]
    assert "retryAfterSeconds" not in heard


async def test_a_call_that_is_applied_just_before_its_profile_is_served(cluster: OperatorCluster) -> None:
    await cluster.create_pool()
    cluster.start_operator()
    await cluster.create_session("call", room="room")
    await cluster.wait_for_phase("call", "Pending")
    await cluster.create_profile()
    await cluster.wait_for_phase("call", "Active")


async def test_local_mode_takes_the_local_pool_and_refuses_one_with_a_cloud_key(cluster: OperatorCluster) -> None:
    cloud = {"name": "cloud", "stt": {"model": "m"}, "llm": {"model": "m"}, "tts": {"model": "m"}}
    await cluster.create_pool("mixed", providers=[cloud])
    await cluster.create_pool("local")
    await cluster.create_profile("good", pool="mixed", localPool="local")
    await cluster.create_profile("bad", pool="mixed")
    cluster.start_operator()
    await cluster.wait_for_warm(2)
    await cluster.create_session("served", room="room-1", profile="good", localMode=True)
    await cluster.create_session("refused", room="room-2", profile="bad", localMode=True)

    served = await cluster.wait_for_phase("served", "Active")
    assert served.status.llm_provider == "local"
    assert (served.status.pod_name or "").startswith("local-")
    refused = await cluster.wait_for_phase("refused", "Failed")
    assert refused.status.reason == "ProviderMissing"
