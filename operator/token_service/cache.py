"""What the API server holds of our kinds, so that answering needs no request to it."""

import asyncio
import functools
from typing import Any

from kube.store import Store
from kube.watch import Source, follow
from token_service.metrics import CACHED_OBJECTS, WATCH_RESTARTS
from voicesession.admission import SESSION_INDEXES
from voicesession.models import AgentPool, AgentProfile, VoiceSession
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, VOICE_SESSIONS


class Cache:
    """The three kinds that the token service decides by."""

    def __init__(self) -> None:
        """Begins empty; run `follow` as a task."""
        self.sessions = Store(VoiceSession.model_validate, SESSION_INDEXES)
        self.profiles = Store(AgentProfile.model_validate)
        self.pools = Store(AgentPool.model_validate)
        self._stores: dict[str, Store[Any]] = {
            VOICE_SESSIONS: self.sessions,
            AGENT_PROFILES: self.profiles,
            AGENT_POOLS: self.pools,
        }
        for plural, store in self._stores.items():
            CACHED_OBJECTS.labels(plural).set_function(functools.partial(len, store.by_name))

    @property
    def synced(self) -> bool:
        """Tells whether everything was listed at least once."""
        return all(store.synced for store in self._stores.values())

    async def follow(self, source: Source) -> None:
        """Keeps all three up to date until cancelled."""
        async with asyncio.TaskGroup() as group:
            for plural, store in self._stores.items():
                group.create_task(follow(source, plural, store, functools.partial(_count_restart, plural)))


def _count_restart(plural: str, cause: str) -> None:
    WATCH_RESTARTS.labels(plural, cause).inc()
