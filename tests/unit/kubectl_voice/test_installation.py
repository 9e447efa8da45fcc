"""What is read of an installation: the Secrets that something needs, quotas that leave nothing, counters."""

import pytest

from kubectl_voice.facts import Raw, read_event, read_pod
from kubectl_voice.installation import (
    Quota,
    read_all,
    read_counters,
    read_failed_job,
    read_quota,
    read_workload,
    wanted_secrets,
)
from kubectl_voice.transcripts import NoTranscriptsError, find_url_reference
from testing.operator_objects import LOCAL, make_pool
from voicesession.models import AgentPool

DEPLOYMENT = {
    "metadata": {"name": "voice-token-service", "labels": {"app.kubernetes.io/component": "token-service"}},
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {
                "containers": [
                    {
                        "env": [
                            {"name": "LIVEKIT_PUBLIC_URL", "value": "wss://lk.example"},
                            {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "roles", "key": "url"}}},
                            {
                                "name": "HTTPS_PROXY",
                                "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url", "optional": True}},
                            },
                        ]
                    }
                ],
                "volumes": [
                    {"secret": {"secretName": "keys", "items": [{"key": "installation-key", "path": "x"}]}},
                    {"secret": {"secretName": "maybe", "optional": True}},
                    {"emptyDir": {}},
                ],
            }
        },
    },
    "status": {"readyReplicas": 1},
}


def test_a_part_is_read_with_the_secrets_that_it_cannot_do_without() -> None:
    workload = read_workload(DEPLOYMENT)
    assert (workload.component, workload.wanted, workload.ready) == ("token-service", 2, 1)
    assert workload.environment == {"LIVEKIT_PUBLIC_URL": "wss://lk.example"}
    assert workload.secrets == {"roles": frozenset({"url"}), "keys": frozenset({"installation-key"})}


def test_a_pools_keys_are_wanted_too() -> None:
    stt = {"model": "stt", "secretRef": {"name": "deepgram", "key": "token"}}
    pool = make_pool(
        providers=[{**LOCAL, "stt": stt, "secretRef": {"name": "openai"}}],
        mcpServers=[{"name": "crm", "url": "http://crm/mcp", "secretRef": {"name": "tools"}}],
        env=[
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "crm", "key": "password"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "maybe", "key": "x", "optional": True}}},
        ],
    )
    assert wanted_secrets([], [pool]) == {
        "deepgram": frozenset({"token"}),
        "tools": frozenset({"api-key"}),
        "openai": frozenset({"api-key"}),
        "crm": frozenset({"password"}),
    }


def test_a_quota_that_leaves_nothing_is_told_and_one_that_forbids_is_meant() -> None:
    status = {"hard": {"pods": "10", "limits.cpu": "8", "services": "0"}, "used": {"pods": "10", "services": "0"}}
    assert read_quota({"metadata": {"name": "q"}, "status": status}) == [Quota("q", "pods", "10")]


def test_only_a_failed_job_has_failed() -> None:
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}
    assert read_failed_job({"status": {"conditions": [failed]}}) == "DeadlineExceeded: too long"
    assert read_failed_job({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}) == ""


def test_an_object_of_another_release_is_named_and_the_others_are_read() -> None:
    good = {"metadata": {"name": "good"}, "spec": {"image": "agent:1"}}
    odd = {"kind": "AgentPool", "metadata": {"name": "odd"}, "spec": {"image": 7}}
    read, unreadable = read_all(AgentPool, [good, odd])
    assert [pool.metadata.name for pool in read] == ["good"]
    assert unreadable == ["AgentPool odd"]


def test_our_counters_are_read_by_their_labels_and_no_others() -> None:
    text = 'voice_a_total{b="x",a="y"} 3.0\nprocess_cpu_seconds_total 9.0\n# TYPE voice_g gauge\nvoice_g 2.0\n'
    assert read_counters(text) == {'voice_a_total{a="y",b="x"}': 3.0, "voice_g": 2.0}


def test_the_databases_url_is_found_where_the_token_service_reads_it() -> None:
    assert find_url_reference(DEPLOYMENT) == {"name": "roles", "key": "url"}
    bare: Raw = {"spec": {"template": {"spec": {"containers": [{"env": []}]}}}}
    with pytest.raises(NoTranscriptsError, match="no database's URL"):
        find_url_reference(bare)


def test_a_pod_tells_its_first_trouble_and_its_last_end() -> None:
    raw = {
        "metadata": {
            "name": "pod-a",
            "creationTimestamp": "2026-01-01T12:00:00Z",
            "labels": {"voiceagents.dev/pool": "default", "voiceagents.dev/session": "uid"},
            "annotations": {"voiceagents.dev/attempt": "2"},
        },
        "spec": {"nodeName": "node-1"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [
                {
                    "restartCount": 3,
                    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                    "lastState": {
                        "terminated": {"reason": "Error", "exitCode": 1, "finishedAt": "2026-01-01T12:00:05Z"}
                    },
                }
            ],
        },
    }
    pod = read_pod(raw)
    assert (pod.waiting, pod.ended, pod.restarts) == ("CrashLoopBackOff", "Error, exit code 1", 3)
    assert (pod.session, pod.attempt, pod.node, pod.ready) == ("uid", 2, "node-1", False)


def test_a_pod_that_fits_nowhere_says_so_in_the_schedulers_words() -> None:
    raw = {
        "metadata": {"name": "pod-a", "creationTimestamp": "2026-01-01T12:00:00Z"},
        "status": {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/2 nodes"}]},
    }
    assert read_pod(raw).unschedulable == "0/2 nodes"


def test_an_event_that_stands_for_many_has_their_number_and_the_last_time() -> None:
    raw = {
        "metadata": {"creationTimestamp": "2026-01-01T12:00:00Z"},
        "involvedObject": {"kind": "Pod", "name": "pod-a"},
        "type": "Warning",
        "reason": "BackOff",
        "count": 7,
        "lastTimestamp": "2026-01-01T12:09:00Z",
    }
    event = read_event(raw)
    assert (event.about, event.count, event.at.minute, event.warning) == ("Pod pod-a", 7, 9, True)
