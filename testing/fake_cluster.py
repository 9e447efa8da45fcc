"""A Kubernetes in memory, as the token service asks one, that fails when it is told to."""

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from kube.client import ConflictError, KubernetesError, KubernetesUnavailableError, NotFoundError, Page, Raw
from testing.waiting import WAIT_SECONDS
from voicesession import clock
from voicesession.models import EndReason
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, END_REASON_ANNOTATION, VOICE_SESSIONS

# Pools as most tests want them: one provider inside the cluster and one outside, and beside it one for local mode.
_LOCAL = {"baseUrl": "http://local-models:8000/v1", "model": "small"}
_CLOUD = {"model": "large"}
_LOCAL_PROVIDER = {"name": "local", "local": True, "stt": _LOCAL, "llm": _LOCAL, "tts": _LOCAL}
POOL = {
    "image": "agent",
    "providers": [
        _LOCAL_PROVIDER,
        {"name": "openai", "stt": _CLOUD, "llm": _CLOUD, "tts": _CLOUD},
    ],
}
LOCAL_POOL = {"image": "agent", "providers": [_LOCAL_PROVIDER]}


class FakeCluster:
    """Objects by kind and name. `requests`: how many came, by verb.

    `away`: no request is answered. `refuses`: what every VoiceSession is answered with. `loses_answers`: VoiceSessions
    are made, and nobody is told.
    """

    def __init__(self) -> None:
        """Begins with profile and pool `default`, and the pool `local` for its local mode."""
        self.away = False
        self.refuses: KubernetesError | None = None
        self.loses_answers = False
        self.requests: Counter[str] = Counter()
        self._version = 0
        self._objects: dict[str, dict[str, Raw]] = {VOICE_SESSIONS: {}, AGENT_POOLS: {}, AGENT_PROFILES: {}}
        self._watchers: list[tuple[str, asyncio.Queue[Raw]]] = []
        self.put(AGENT_POOLS, "default", POOL)
        self.put(AGENT_POOLS, "local", LOCAL_POOL)
        self.put(AGENT_PROFILES, "default", {"pool": "default", "localPool": "local"})

    @property
    def sessions(self) -> dict[str, Raw]:
        """Returns the VoiceSessions by name."""
        return self._objects[VOICE_SESSIONS]

    def put(
        self,
        plural: str,
        name: str,
        spec: Raw,
        status: Raw | None = None,
        labels: dict[str, str] | None = None,
        created_at: datetime | None = None,
        annotations: dict[str, str] | None = None,
    ) -> Raw:
        """Stores an object as somebody else would, and tells the watchers."""
        before = self._objects[plural].get(name)
        metadata: Raw = {
            "name": name,
            "uid": before["metadata"]["uid"] if before else f"00000000-0000-4000-8000-{self._version:012x}",
            "creationTimestamp": (created_at or clock.now()).isoformat(),
            "labels": labels or {},
            "annotations": annotations or {},
        }
        stored: Raw = {"metadata": metadata, "spec": spec, "status": status or {}}
        self._store(plural, stored, "MODIFIED" if before else "ADDED")
        return copy.deepcopy(stored)

    async def finish_calls(self) -> None:
        """Has every call end, as the operator would; returns when all watchers know."""
        for name in self.sessions:
            ended = copy.deepcopy(self.sessions[name])
            ended["status"] = {**ended["status"], "phase": "Ended"}
            self._store(VOICE_SESSIONS, ended, "MODIFIED")
        await self.until_seen()

    def remove(self, plural: str, name: str) -> None:
        """Removes an object and tells the watchers."""
        self._tell(plural, "DELETED", self._objects[plural].pop(name))

    def break_watches(self) -> None:
        """Ends every watch as a restarting API server does."""
        for _, queue in self._watchers:
            queue.put_nowait({"type": "BROKEN"})

    async def until_seen(self) -> None:
        """Waits until every watcher has seen whatever has happened so far."""
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.gather(*(queue.join() for _, queue in self._watchers))

    async def list_objects(self, plural: str, label_selector: str = "") -> tuple[list[Raw], int]:
        """As `Cluster`."""
        self._answer("list")
        return self._list(plural, label_selector), self._version

    async def list_pages(self, plural: str) -> AsyncIterator[Page]:
        """As `Cluster`, in one page."""
        self._answer("list")
        yield self._list(plural), self._version

    def _list(self, plural: str, label_selector: str = "") -> list[Raw]:
        name, _, value = label_selector.partition("=")
        return [
            copy.deepcopy(each)
            for each in self._objects[plural].values()
            if not name or each["metadata"]["labels"].get(name) == value
        ]

    async def watch_objects(self, plural: str, version: int) -> AsyncIterator[Raw]:
        """As `Cluster`; nothing can happen between a list and its watch, since both run in one event loop."""
        self._answer("watch")
        queue: asyncio.Queue[Raw] = asyncio.Queue()
        watcher = (plural, queue)
        self._watchers.append(watcher)
        try:
            while True:
                event = await queue.get()
                if event["type"] == "BROKEN":
                    queue.task_done()
                    raise KubernetesUnavailableError("the watch broke")
                yield event
                queue.task_done()  # whoever watches asks for the next
        finally:
            self._watchers.remove(watcher)

    async def get_session(self, name: str) -> Raw:
        """As `Cluster`."""
        self._answer("get")
        return copy.deepcopy(self._find(name))

    async def create_session(self, session: Raw) -> Raw:
        """As `Cluster`."""
        self._answer("create")
        if self.refuses:
            raise self.refuses
        name = session["metadata"]["name"]
        if name in self.sessions:
            raise ConflictError(409, f"{name} already exists")
        given = {key: session["metadata"].get(key) for key in ("labels", "annotations")}
        made = self.put(VOICE_SESSIONS, name, session["spec"], **given)
        if self.loses_answers:
            raise KubernetesUnavailableError("timed out")
        return made

    async def end_session(self, name: str, reason: EndReason) -> Raw:
        """As `Cluster`."""
        self._answer("patch")
        found = copy.deepcopy(self._find(name))
        found["spec"]["end"] = True
        found["metadata"]["annotations"][END_REASON_ANNOTATION] = reason.value
        self._store(VOICE_SESSIONS, found, "MODIFIED")
        return copy.deepcopy(found)

    def _find(self, name: str) -> Raw:
        if name not in self.sessions:
            raise NotFoundError(404, f"{name} not found")
        return self.sessions[name]

    def _answer(self, verb: str) -> None:
        self.requests[verb] += 1
        if self.away:
            raise KubernetesUnavailableError("connection refused")

    def _store(self, plural: str, stored: Raw, kind: str) -> None:
        self._version += 1
        stored["metadata"]["resourceVersion"] = str(self._version)
        self._objects[plural][stored["metadata"]["name"]] = stored
        self._tell(plural, kind, stored)

    def _tell(self, plural: str, kind: str, stored: Any) -> None:
        for watched, queue in self._watchers:
            if watched == plural:
                queue.put_nowait({"type": kind, "object": copy.deepcopy(stored)})
