"""What the API server holds of our kinds, kept by list and watch, so that answering needs no request to it."""

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping
from typing import Generic, TypeVar

from pydantic import ValidationError

from token_service.kubernetes_api import Cluster, KubernetesError, KubernetesUnavailableError, Raw, WatchExpiredError
from token_service.metrics import CACHED_OBJECTS, WATCH_RESTARTS
from voicesession.models import AgentPool, AgentProfile, VoiceSession
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, VOICE_SESSIONS

T = TypeVar("T")
logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0


class WatchedKind(Generic[T]):
    """All objects of one kind by name. A full list comes with every new watch: after a silent minute, or every five."""

    def __init__(self, plural: str, parse: Callable[[Raw], T]) -> None:
        """Begins empty; `synced` is set by the first full list."""
        self.plural = plural
        self.synced = asyncio.Event()
        self._parse = parse
        self._values: dict[str, T] = {}
        self._versions: dict[str, int] = {}

    @property
    def by_name(self) -> Mapping[str, T]:
        """Returns the objects by name, as they are now and will be."""
        return self._values

    def put(self, raw: Raw) -> None:
        """Takes in an object unless a newer one of its name is held; an own creation's answer comes here too."""
        name, version = raw["metadata"]["name"], int(raw["metadata"]["resourceVersion"])
        if version < self._versions.get(name, 0):
            return
        try:
            self._values[name] = self._parse(raw)
        except ValidationError as error:
            logger.warning("cannot read %s/%s: %s", self.plural, name, error.errors(include_input=False)[:3])
            return
        self._versions[name] = version
        CACHED_OBJECTS.labels(self.plural).set(len(self._values))

    def remove(self, name: str) -> None:
        """Forgets an object that is gone."""
        self._values.pop(name, None)
        self._versions.pop(name, None)
        CACHED_OBJECTS.labels(self.plural).set(len(self._values))

    def replace(self, raws: Collection[Raw], version: str) -> None:
        """Takes in a full list: what it lacks is gone, unless that is newer than the list."""
        listed = {raw["metadata"]["name"] for raw in raws}
        for name in [each for each, held in self._versions.items() if each not in listed and held <= int(version)]:
            self.remove(name)
        for raw in raws:
            self.put(raw)
        self.synced.set()

    async def follow(self, cluster: Cluster) -> None:
        """Keeps the objects up to date until cancelled. While the API server is away, what was last seen stays."""
        pause = _FIRST_PAUSE
        while True:
            try:
                raws, version = await cluster.list_objects(self.plural)
                self.replace(raws, version)
                pause = _FIRST_PAUSE
                await self._watch(cluster, version)
                WATCH_RESTARTS.labels(self.plural, "resync").inc()
                await asyncio.sleep(random.uniform(0.0, _FIRST_PAUSE))  # noqa: S311 - jitter
            except WatchExpiredError:
                WATCH_RESTARTS.labels(self.plural, "expired").inc()
            except (KubernetesError, KubernetesUnavailableError) as error:
                WATCH_RESTARTS.labels(self.plural, "error").inc()
                logger.warning("watching %s again in %.1f s: %s", self.plural, pause, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _watch(self, cluster: Cluster, version: str) -> None:
        async for event in cluster.watch_objects(self.plural, version):
            if event["type"] in {"ADDED", "MODIFIED"}:
                self.put(event["object"])
            elif event["type"] == "DELETED":
                self.remove(event["object"]["metadata"]["name"])


class WatchCache:
    """The three kinds that the token service decides by."""

    def __init__(self) -> None:
        """Begins empty; run `follow` as a task."""
        self.sessions = WatchedKind(VOICE_SESSIONS, VoiceSession.model_validate)
        self.profiles = WatchedKind(AGENT_PROFILES, AgentProfile.model_validate)
        self.pools = WatchedKind(AGENT_POOLS, AgentPool.model_validate)

    @property
    def synced(self) -> bool:
        """Tells whether everything was listed at least once."""
        return all(kind.synced.is_set() for kind in (self.sessions, self.profiles, self.pools))

    async def follow(self, cluster: Cluster) -> None:
        """Keeps all three up to date until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind in (self.sessions, self.profiles, self.pools):
                group.create_task(kind.follow(cluster))
