"""Writes Kubernetes Events in the background: what `kubectl describe` tells of a call. Never in a call's way."""

import asyncio
import contextlib
import logging
import secrets
from datetime import datetime
from typing import Any

from kube.client import KubernetesApi, KubernetesError, KubernetesUnavailableError
from voice_operator.metrics import EVENTS_DROPPED
from voicesession import clock
from voicesession.models import VoiceSession
from voicesession.names import API_VERSION

log = logging.getLogger(__name__)

_COMPONENT = "voice-operator"
_BACKLOG = 1000
_TRIES = 3


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
        """Has an Event written. `kind` is Normal or Warning."""
        try:
            self._backlog.put_nowait(build_event(session, kind, reason, message, clock.now()))
        except asyncio.QueueFull:
            EVENTS_DROPPED.inc()

    async def _run(self) -> None:
        while True:
            event = await self._backlog.get()
            await self._write(event)

    async def _write(self, event: dict[str, Any]) -> None:
        for attempt in range(_TRIES):
            try:
                await self._kubernetes.create_event(event)
            except KubernetesUnavailableError:
                await asyncio.sleep(2**attempt)
            except KubernetesError as error:
                about = event["involvedObject"]
                fields = {"session": about["uid"], "voicesession": about["name"], "reason": event["reason"]}
                log.warning("an Event was refused", extra={**fields, "error": error})
                break
            else:
                return
        EVENTS_DROPPED.inc()


def build_event(session: VoiceSession, kind: str, reason: str, message: str, now: datetime) -> dict[str, Any]:
    """Returns an Event about a VoiceSession."""
    metadata = session.metadata
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata.name[:230]}.{secrets.token_hex(8)}", "namespace": metadata.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "VoiceSession",
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
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
