"""Writes Kubernetes Events in the background: what `kubectl describe` tells of a call. Never in a call's way."""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from kube.client import ConflictError, KubernetesApi, KubernetesError, KubernetesUnavailableError
from voice_operator.backoff import Backoff
from voice_operator.metrics import EVENTS_DROPPED
from voicesession import clock
from voicesession.models import VoiceSession
from voicesession.names import API_VERSION, short_hash

log = logging.getLogger(__name__)

_COMPONENT = "voice-operator"
_BACKLOG = 1000
# An Event that finds no API server for so long is dropped; those after it are younger.
_PATIENCE_SECONDS = 60.0


class EventReason(StrEnum):
    """What an Event of ours may be about, beside the reasons of conditions. docs/reading-a-call.md has each."""

    AGENT_JOINED = "AgentJoined"
    AGENT_LOST = "AgentLost"
    AGENT_RECOVERED = "AgentRecovered"
    CLAIM_REFUSED = "ClaimRefused"
    MODEL_FAILED = "ModelFailed"
    MODEL_REPLACED = "ModelReplaced"
    MODEL_RETRIED = "ModelRetried"
    MOVE_DELAYED = "MoveDelayed"
    MOVED = "Moved"
    MOVING = "Moving"
    OTHER_AGENT = "OtherAgent"
    POD_LOST = "PodLost"
    ROWS_LOST = "RowsLost"
    ROWS_WAIT = "RowsWait"
    STATUS_REFUSED = "StatusRefused"
    STUCK = "Stuck"
    UNREADABLE = "Unreadable"


@dataclass(frozen=True, slots=True)
class Subject:
    """What an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, session: VoiceSession) -> "Subject":
        """Returns a VoiceSession as a subject."""
        metadata = session.metadata
        return cls(API_VERSION, "VoiceSession", metadata.namespace, metadata.name, metadata.uid)


class EventRecorder:
    """A backlog of Events and the task that writes them. A full backlog drops: status is the truth, Events are news."""

    def __init__(self, kubernetes: KubernetesApi) -> None:
        self._kubernetes = kubernetes
        self._backlog: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_BACKLOG)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts writing."""
        self._task = asyncio.create_task(self._run(), name="events")

    async def stop(self) -> None:
        """Stops writing; what is in the backlog is dropped."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def record(self, session: VoiceSession, kind: str, reason: str, message: str) -> None:
        """Has an Event written about a VoiceSession. `kind` is Normal or Warning."""
        self._put(build_event(Subject.of(session), kind, reason, message, clock.now()))

    def record_once(
        self, subject: Subject, reason: str, message: str, *, kind: str = "Warning", about: str = ""
    ) -> None:
        """Has an Event written, unless one of this reason was written about it before, by whichever operator.

        `about`: what tells apart several of one reason.
        """
        suffix = short_hash(reason + about + subject.uid)
        self._put(build_event(subject, kind, reason, message, clock.now(), suffix=suffix))

    def _put(self, event: dict[str, Any]) -> None:
        try:
            self._backlog.put_nowait(event)
        except asyncio.QueueFull:
            EVENTS_DROPPED.inc()

    async def _run(self) -> None:
        while True:
            event = await self._backlog.get()
            await self._write(event)

    async def _write(self, event: dict[str, Any]) -> None:
        pauses, deadline = Backoff(0.5, 8.0), time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                await self._kubernetes.create_event(event)
            except KubernetesUnavailableError:
                await asyncio.sleep(pauses.next())
            except ConflictError:
                return  # it was written before
            except KubernetesError as error:
                about = event["involvedObject"]
                fields = {"session": about["uid"], "voicesession": about["name"], "reason": event["reason"]}
                log.warning("an Event was refused", extra={**fields, "error": error})
                break
            else:
                return
        EVENTS_DROPPED.inc()


def build_event(
    subject: Subject, kind: str, reason: str, message: str, now: datetime, suffix: str = ""
) -> dict[str, Any]:
    """Returns an Event. `suffix`: of its name; where it is empty, the time, which puts those of one second in order."""
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    name = f"{subject.name[:230]}.{suffix or f'{time.time_ns():x}'}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": subject.namespace},
        "involvedObject": {
            "apiVersion": subject.api_version,
            "kind": subject.kind,
            "name": subject.name,
            "namespace": subject.namespace,
            "uid": subject.uid,
        },
        "type": kind,
        "reason": reason,
        "message": message[:1024],
        "source": {"component": _COMPONENT},
        "reportingComponent": _COMPONENT,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
