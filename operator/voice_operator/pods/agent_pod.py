"""What the operator reads in an agent pod: one parse for each event, then plain values. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from voicesession.assignment import PROTOCOL, TerminationMessage
from voicesession.conditions import Reason
from voicesession.models import OnDrain
from voicesession.names import (
    ATTEMPT_ANNOTATION,
    CLAIMED,
    CLAIMED_AT_ANNOTATION,
    ON_DRAIN_LABEL,
    POOL_LABEL,
    PROTOCOL_ANNOTATION,
    SESSION_LABEL,
    STANDS_BY_ANNOTATION,
    STATE_LABEL,
    TEMPLATE_LABEL,
    WARM,
)
from voicesession.pod_environment import SEAL_KEY_VARIABLE

# The container that agents run in.
AGENT_CONTAINER = "agent"
# Enough for flushing the conversation; and for a goodbye, where the call ends anyway.
GRACE_SECONDS = 15

# What a pod leaves that never takes a call; and what one speaks that was made before protocols had numbers.
_START_REFUSALS = {Reason.CODE_IMPORT_FAILED, Reason.PROTOCOL_UNKNOWN}
_FIRST_PROTOCOL = 1
# Waiting reasons of a container whose image cannot be had.
_IMAGE_TROUBLE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
# What a kubelet calls a pod that it has ended to have room itself.
_EVICTED = "Evicted"
_CONFIG_TROUBLE = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


@dataclass(frozen=True, slots=True)
class PodExit:
    """How a pod's process ended. `termination`: what it left, None where that is nothing of ours."""

    exit_code: int | None
    out_of_memory: bool
    termination: TerminationMessage | None
    detail: str  # for humans: the kubelet's words, never a conversation's


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod does not start, in the words of whoever said so."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class AgentPod:
    """One agent pod as decisions see it.

    What `..._at` and `..._since` say stands in the object, by whose clock ever; `..._seen_at` is when this process saw
    it, by the steady clock, from which alone time is counted.
    """

    name: str
    uid: str
    created_at: datetime
    resource_version: str = ""
    pool: str = ""
    state: str = WARM
    template: str = ""
    protocol: int = PROTOCOL  # what it was told that its operator speaks
    session: str | None = None  # uid of the VoiceSession that claimed it
    owner_name: str | None = None  # name of its owner, a VoiceSession once claimed
    attempt: int = 0
    stands_by_for: int = 0  # the attempt whose call it was claimed for while that one had it; 0: none
    claimed_at: datetime | None = None
    ip: str | None = None
    node: str | None = None
    ready: bool = False
    ready_changed_at: datetime | None = None
    running_since: datetime | None = None
    on_drain: OnDrain = OnDrain.MOVE
    deleting: bool = False
    leaves_within: int | None = None  # seconds that its deletion gives it, counted from when it was asked for
    evicted: bool = False
    exit: PodExit | None = None
    trouble: Trouble | None = None
    seen_at: datetime | None = None
    claim_seen_at: datetime | None = None
    ready_seen_at: datetime | None = None  # it became ready, or unready
    running_seen_at: datetime | None = None
    seal_key: str = field(default="", repr=False)  # empty: of a release before, whose pods have none

    @property
    def host(self) -> str:
        """Returns its address as a URL has it: an IPv6 one in brackets."""
        return f"[{self.ip}]" if self.ip and ":" in self.ip else str(self.ip)

    @property
    def live(self) -> bool:
        """Tells whether its process may still run and is wanted."""
        return not self.deleting and self.exit is None

    @property
    def warm(self) -> bool:
        """Tells whether it waits, or will wait, for a call."""
        return self.state == WARM and self.live

    @property
    def understood(self) -> bool:
        """Tells whether this operator can speak with it: one that came before or after may have made it."""
        return self.protocol == PROTOCOL

    @property
    def dismissed(self) -> bool:
        """Tells whether it is going for good. One that others delete may go on with its call for an hour."""
        return self.deleting and (self.leaves_within or 0) <= GRACE_SECONDS

    @property
    def claimed(self) -> bool:
        """Tells whether it belongs to a VoiceSession."""
        return self.state == CLAIMED


def parse_time(text: str | None) -> datetime | None:
    """Returns the moment in an RFC 3339 text, or None."""
    return datetime.fromisoformat(text) if text else None


def read_pod(raw: Mapping[str, Any]) -> AgentPod:
    """Returns what matters of a Pod object."""
    metadata = raw["metadata"]
    status = raw.get("status") or {}
    labels = metadata.get("labels") or {}
    annotations = metadata.get("annotations") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    ready = conditions.get("Ready") or {}
    # A mesh's sidecar may stand before it.
    ours = (each for each in status.get("containerStatuses") or () if each["name"] == AGENT_CONTAINER)
    container: Mapping[str, Any] = next(ours, {})
    state = container.get("state") or {}
    spec = raw.get("spec") or {}
    return AgentPod(
        name=metadata["name"],
        uid=metadata["uid"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        resource_version=metadata["resourceVersion"],
        pool=labels.get(POOL_LABEL, ""),
        state=labels.get(STATE_LABEL, ""),
        template=labels.get(TEMPLATE_LABEL, ""),
        protocol=_read_number(annotations.get(PROTOCOL_ANNOTATION), _FIRST_PROTOCOL),
        session=labels.get(SESSION_LABEL),
        owner_name=next((owner["name"] for owner in metadata.get("ownerReferences") or ()), None),
        attempt=_read_number(annotations.get(ATTEMPT_ANNOTATION)),
        stands_by_for=_read_number(annotations.get(STANDS_BY_ANNOTATION)),
        claimed_at=_read_annotated_time(annotations.get(CLAIMED_AT_ANNOTATION)),
        ip=status.get("podIP"),
        node=spec.get("nodeName"),
        ready=ready.get("status") == "True",
        ready_changed_at=parse_time(ready.get("lastTransitionTime")),
        running_since=parse_time((state.get("running") or {}).get("startedAt")),
        on_drain=_read_on_drain(labels.get(ON_DRAIN_LABEL)),
        deleting=metadata.get("deletionTimestamp") is not None,
        leaves_within=metadata.get("deletionGracePeriodSeconds"),
        evicted=(conditions.get("DisruptionTarget") or {}).get("status") == "True" or status.get("reason") == _EVICTED,
        exit=_read_exit(status, state),
        trouble=_read_trouble(conditions, state),
        seal_key=_read_seal_key(spec),
    )


def with_sight(pod: AgentPod, before: AgentPod | None, now: datetime) -> AgentPod:
    """Returns the pod with when this process saw what stands in it. `before`: the same pod as it was seen last."""

    def see(stamp: datetime | None, stamp_before: datetime | None, seen_before: datetime | None) -> datetime | None:
        if stamp is None:
            return None
        return seen_before if seen_before and stamp == stamp_before else now

    known = before if before and before.uid == pod.uid else pod
    return replace(
        pod,
        seen_at=known.seen_at or now,
        claim_seen_at=see(pod.claimed_at, known.claimed_at, known.claim_seen_at),
        ready_seen_at=see(pod.ready_changed_at, known.ready_changed_at, known.ready_seen_at),
        running_seen_at=see(pod.running_since, known.running_since, known.running_seen_at),
    )


def _read_seal_key(spec: Mapping[str, Any]) -> str:
    containers = (each for each in spec.get("containers") or () if each["name"] == AGENT_CONTAINER)
    agent: Mapping[str, Any] = next(containers, {})
    variables = agent.get("env") or ()
    return next((each.get("value") or "" for each in variables if each["name"] == SEAL_KEY_VARIABLE), "")


def _read_annotated_time(text: str | None) -> datetime | None:
    """Returns the moment in an annotation, which anybody who edits pods may have written; None where it is none."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else None


def _read_on_drain(text: str | None) -> OnDrain:
    return OnDrain(text) if text in set(OnDrain) else OnDrain.MOVE


def _read_number(text: str | None, default: int = 0) -> int:
    return int(text) if text and text.isdecimal() else default


def _read_exit(status: Mapping[str, Any], state: Mapping[str, Any]) -> PodExit | None:
    terminated = state.get("terminated")
    if terminated and status.get("reason") == _EVICTED:
        # Its node was short of something, and says of what; the container only that it was killed.
        detail = f"{_EVICTED} {status.get('message') or ''}".strip()
        return PodExit(terminated.get("exitCode"), False, _read_termination(terminated.get("message")), detail)
    if terminated is None:
        if status.get("phase") not in {"Succeeded", "Failed"}:
            return None
        # Evicted by its node, or its node was replaced: the kubelet tells no container state.
        detail = " ".join(filter(None, (status.get("reason"), status.get("message")))) or "the pod failed"
        return PodExit(exit_code=None, out_of_memory=False, termination=None, detail=detail)
    code = terminated.get("exitCode")
    reason = terminated.get("reason") or "Terminated"
    return PodExit(
        exit_code=code,
        out_of_memory=reason == "OOMKilled",
        termination=_read_termination(terminated.get("message")),
        detail=f"{reason}, exit code {code}",
    )


def _read_termination(message: str | None) -> TerminationMessage | None:
    if not message:
        return None
    try:
        return TerminationMessage.model_validate_json(message)
    except ValidationError:
        return None  # not ours: a crash's own last words, or a killed writer's half


def _read_trouble(conditions: Mapping[str, Mapping[str, Any]], state: Mapping[str, Any]) -> Trouble | None:
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason")
    if reason in _IMAGE_TROUBLE:
        return Trouble(Reason.IMAGE_PULL_FAILED, waiting.get("message") or reason)
    if reason in _CONFIG_TROUBLE:
        return Trouble(Reason.POD_CONFIG_INVALID, waiting.get("message") or reason)
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") == "False":
        return Trouble(Reason.UNSCHEDULABLE, scheduled.get("message") or scheduled.get("reason") or "not scheduled")
    return None


def find_trouble(pods: Iterable[AgentPod]) -> Trouble | None:
    """Returns why a pool's pods do not start: the first known trouble of one that is starting."""
    return next((pod.trouble for pod in pods if pod.warm and not pod.ready and pod.trouble), None)


def find_start_refusal(pod: AgentPod) -> Trouble | None:
    """Returns why a pod will never take a call, in its own words; None where it did not say so."""
    termination = pod.exit.termination if pod.exit else None
    if termination is None or termination.reason not in _START_REFUSALS:
        return None
    return Trouble(Reason(termination.reason), termination.message)
