"""Why a pod's container is not even created, as its kubelet tells in Events and nowhere else. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from voice_operator.pods.agent_pod import Trouble
from voicesession.conditions import Reason

Raw = Mapping[str, Any]

_REASONS = {
    "FailedMount": Reason.POD_CONFIG_INVALID,
    "FailedAttachVolume": Reason.POD_CONFIG_INVALID,
    "FailedCreatePodSandBox": Reason.POD_SANDBOX_FAILED,
    "NetworkNotReady": Reason.POD_SANDBOX_FAILED,
}
# Whatever was the matter before, it is over.
_PROGRESS = {"Pulling", "Pulled", "Created", "Started"}
# Said every two minutes beside what each volume's own trouble is.
_SUMMARY = "Unable to attach or mount volumes"
_VOLUME = re.compile(r'volume "([^"]+)"')
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def read_start_trouble(events: Iterable[Raw]) -> Trouble | None:
    """Returns what keeps a pod from having a container, by the Events about it; None where they tell of nothing."""
    told = list(events)
    failures = [event for event in told if event.get("reason") in _REASONS]
    if not failures:
        return None
    last = max(failures, key=_told_at)
    if any(event.get("reason") in _PROGRESS and _told_at(event) >= _told_at(last) for event in told):
        return None
    if _message(last).startswith(_SUMMARY):
        last = max(failures, key=lambda event: (not _message(event).startswith(_SUMMARY), _told_at(event)))
    return Trouble(_REASONS[last["reason"]], _message(last) or last["reason"])


def name_object(trouble: Trouble, pod: Raw) -> Trouble:
    """Returns the trouble with the Secret or ConfigMap that its volume is made of, where it does not name that."""
    found = _VOLUME.search(trouble.message)
    volume: Raw = next((each for each in pod["spec"].get("volumes") or () if found and each["name"] == found[1]), {})
    secret, config_map = volume.get("secret"), volume.get("configMap")
    name = secret["secretName"] if secret else config_map["name"] if config_map else None
    if name is None or f'"{name}"' in _VOLUME.sub("", trouble.message):
        return trouble
    return replace(trouble, message=f"{trouble.message} ({'Secret' if secret else 'ConfigMap'} {name!r})")


def _message(event: Raw) -> str:
    return event.get("message") or ""


def _told_at(event: Raw) -> datetime:
    """Returns when an Event, which may stand for many, was told last."""
    series = event.get("series") or {}
    stamp = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return datetime.fromisoformat(stamp) if stamp else _LONG_AGO
