"""What is read in pods, Events and Deployments: one parse for each, then plain values. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from voicesession.names import ATTEMPT_ANNOTATION, POOL_LABEL, SESSION_LABEL, STATE_LABEL

Raw = Mapping[str, Any]

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod of the release. `waiting`, `ended`: the kubelet's reason, and words, of its first troubled container."""

    name: str
    created_at: datetime
    component: str = ""
    pool: str = ""
    state: str = ""
    session: str = ""
    attempt: int = 0
    node: str = ""
    phase: str = ""
    ready: bool = False
    restarts: int = 0
    deleting: bool = False
    waiting: str = ""
    waiting_message: str = ""
    ended: str = ""
    ended_at: datetime | None = None
    unschedulable: str = ""


@dataclass(frozen=True, slots=True)
class EventFacts:
    """One Event, or what stands for many alike. `about`: kind and name."""

    at: datetime
    warning: bool
    reason: str
    message: str
    about: str
    count: int = 1


def read_time(text: str | None) -> datetime | None:
    """Returns the moment in an RFC 3339 text, or None."""
    return datetime.fromisoformat(text) if text else None


def read_pod(raw: Raw) -> PodFacts:
    """Returns what matters of a Pod."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    waiting = next((found for each in containers if (found := _state(each, "waiting"))), {})
    ended = next((found for each in containers if (found := _state(each, "terminated") or _last_end(each))), {})
    scheduled = conditions.get("PodScheduled") or {}
    attempt = annotations.get(ATTEMPT_ANNOTATION, "")
    return PodFacts(
        name=metadata["name"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        component=labels.get("app.kubernetes.io/component", ""),
        pool=labels.get(POOL_LABEL, ""),
        state=labels.get(STATE_LABEL, ""),
        session=labels.get(SESSION_LABEL, ""),
        attempt=int(attempt) if attempt.isdecimal() else 0,
        node=(raw.get("spec") or {}).get("nodeName") or "",
        phase=status.get("phase") or "",
        ready=(conditions.get("Ready") or {}).get("status") == "True",
        restarts=sum(each.get("restartCount") or 0 for each in containers),
        deleting=metadata.get("deletionTimestamp") is not None,
        waiting=waiting.get("reason") or "",
        waiting_message=waiting.get("message") or "",
        ended=f"{ended.get('reason') or 'Terminated'}, exit code {ended.get('exitCode')}" if ended else "",
        ended_at=read_time(ended.get("finishedAt")),
        unschedulable=scheduled.get("message") or "" if scheduled.get("reason") == "Unschedulable" else "",
    )


def read_event(raw: Raw) -> EventFacts:
    """Returns what matters of an Event."""
    series, about = raw.get("series") or {}, raw.get("involvedObject") or {}
    metadata = raw["metadata"]
    stamp = series.get("lastObservedTime") or raw.get("lastTimestamp") or raw.get("eventTime")
    return EventFacts(
        at=read_time(stamp or metadata.get("creationTimestamp")) or _LONG_AGO,
        warning=raw.get("type") == "Warning",
        reason=raw.get("reason") or "",
        message=raw.get("message") or "",
        about=f"{about.get('kind', '?')} {about.get('name', '?')}",
        count=series.get("count") or raw.get("count") or 1,
    )


def read_events(raws: Iterable[Raw]) -> tuple[EventFacts, ...]:
    """Returns Events in the order of time."""
    return tuple(sorted((read_event(raw) for raw in raws), key=lambda event: event.at))


def _state(container: Raw, name: str) -> Raw:
    found: Raw = (container.get("state") or {}).get(name) or {}
    return found


def _last_end(container: Raw) -> Raw:
    found: Raw = (container.get("lastState") or {}).get("terminated") or {}
    return found
