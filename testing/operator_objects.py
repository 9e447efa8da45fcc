"""Objects for the operator's tables: short to write, complete where it matters."""

from datetime import UTC, datetime, timedelta
from typing import Any

from voice_operator.pods.agent_pod import AgentPod
from voicesession.assignment import PROTOCOL
from voicesession.conditions import ConditionType, Reason, derive_phase, with_condition
from voicesession.models import AgentPool, AgentProfile, Condition, VoiceSession
from voicesession.names import (
    ATTEMPT_ANNOTATION,
    CLAIMED,
    CLAIMED_AT_ANNOTATION,
    POOL_LABEL,
    PROTOCOL_ANNOTATION,
    SESSION_LABEL,
    STATE_LABEL,
    TEMPLATE_LABEL,
    WARM,
)

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
UID = "11111111-1111-1111-1111-111111111111"

MODELS: dict[str, Any] = {"stt": {"model": "stt"}, "llm": {"model": "llm"}, "tts": {"model": "tts"}}
CLOUD: dict[str, Any] = {"name": "cloud", **MODELS}
LOCAL: dict[str, Any] = {"name": "local", "local": True, **MODELS}


def ago(seconds: float) -> datetime:
    """Returns a moment before NOW."""
    return NOW - timedelta(seconds=seconds)


def make_pool(name: str = "default", generation: int = 1, **spec: Any) -> AgentPool:
    """Returns an AgentPool with one cloud provider."""
    return AgentPool.model_validate(
        {
            "metadata": {"name": name, "uid": f"uid-of-{name}", "generation": generation},
            "spec": {"image": "agent:1", "providers": [CLOUD], **spec},
        }
    )


def make_profile(name: str = "default", **spec: Any) -> AgentProfile:
    """Returns an AgentProfile."""
    return AgentProfile.model_validate({"metadata": {"name": name, "uid": f"uid-of-{name}"}, "spec": spec})


def make_session(
    name: str = "call", uid: str = UID, conditions: list[Condition] | None = None, **fields: Any
) -> VoiceSession:
    """Returns a VoiceSession. `fields` are of its spec, or `status_...` of its status."""
    status = {key.removeprefix("status_"): value for key, value in fields.items() if key.startswith("status_")}
    others = {"deleted_at", "annotations"}
    spec = {key: value for key, value in fields.items() if not key.startswith("status_") and key not in others}
    return VoiceSession.model_validate(
        {
            "metadata": {
                "name": name,
                "namespace": "here",
                "uid": uid,
                "resource_version": "7",
                "creation_timestamp": ago(0),
                "deletion_timestamp": fields.get("deleted_at"),
                "annotations": fields.get("annotations", {}),
            },
            "spec": {"room": "room", **spec},
            "status": {
                "conditions": conditions or [],
                "phase": derive_phase(conditions or [], False),
                **status,
            },
        }
    )


def joined_conditions(since: float = 10) -> list[Condition]:
    """Returns the conditions of a call whose agent is in the room."""
    bound = with_condition([], ConditionType.POD_BOUND, "True", Reason.BOUND, "", ago(since))
    return with_condition(bound, ConditionType.AGENT_JOINED, "True", Reason.JOINED, "", ago(since))


def finished_conditions(reason: Reason = Reason.CALL_ENDED) -> list[Condition]:
    """Returns the conditions of a call that is over."""
    return with_condition(joined_conditions(), ConditionType.FINISHED, "True", reason, "", ago(0))


def make_pod(name: str = "pod-a", **fields: Any) -> AgentPod:
    """Returns a waiting pod that is ready; what happened to it was seen when it happened, unless `fields` say more."""
    values: dict[str, Any] = {
        "uid": f"uid-of-{name}",
        "created_at": ago(100),
        "resource_version": "3",
        "pool": "default",
        "state": WARM,
        "template": "now",
        "ip": "10.0.0.1",
        "node": "node-1",
        "ready": True,
        "running_since": ago(99),
        "ready_changed_at": ago(90),
    }
    values |= fields
    seen = {
        "seen_at": values["created_at"],
        "claim_seen_at": values.get("claimed_at"),
        "ready_seen_at": values["ready_changed_at"],
        "running_seen_at": values["running_since"],
    }
    return AgentPod(name, **{**seen, **values})


def make_starting_pod(name: str = "pod-s", **fields: Any) -> AgentPod:
    """Returns a pod whose process has just begun."""
    started = {"ready": False, "created_at": ago(2), "running_since": ago(1), "ready_changed_at": None}
    return make_pod(name, **{**started, **fields})


def make_claimed_pod(name: str = "pod-a", **fields: Any) -> AgentPod:
    """Returns the pod that has the call."""
    claimed = {"state": CLAIMED, "session": UID, "attempt": 1, "claimed_at": ago(0.1), "owner_name": "call"}
    return make_pod(name, **{**claimed, **fields})


def make_raw_pod(
    name: str = "pod-a",
    *,
    version: int = 1,
    call: str | None = None,
    attempt: int = 1,
    ready: bool = True,
    template: str = "now",
    node: str = "node-1",
    exit_code: int | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    """Returns a Pod as the API server shows it: waiting, or that of the VoiceSession whose uid `call` is."""
    labels = {POOL_LABEL: "default", STATE_LABEL: CLAIMED if call else WARM, TEMPLATE_LABEL: template}
    annotations = {ATTEMPT_ANNOTATION: "0", PROTOCOL_ANNOTATION: str(PROTOCOL)}
    if call:
        labels[SESSION_LABEL] = call
        annotations |= {ATTEMPT_ANNOTATION: str(attempt), CLAIMED_AT_ANNOTATION: ago(0.1).isoformat()}
    ended = {"terminated": {"exitCode": exit_code}} if exit_code is not None else {}
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": ago(100).isoformat(),
            "labels": labels,
            "annotations": annotations,
            **metadata,
        },
        "spec": {"nodeName": node},
        "status": {
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [{"name": "agent", "state": ended}],
        },
    }
