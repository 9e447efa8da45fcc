"""Writes to the API server, and looks at single objects: what it answers is in the cache before a watch tells it."""

import contextlib
from collections.abc import Sequence
from typing import Any

from kube.client import ConflictError, KubernetesApi, NotFoundError, Raw
from kube.store import Store
from voice_operator.cache import Cache
from voice_operator.pods.agent_pod import GRACE_SECONDS, AgentPod
from voicesession.models import (
    AgentPool,
    AgentPoolStatus,
    AgentProfile,
    AgentProfileStatus,
    VoiceSession,
    VoiceSessionStatus,
)


class WriteThrough:
    """What reconcilers do to the API server.

    Besides what each method says: raises KubernetesError where the API server refuses, and KubernetesUnavailableError
    where it does not answer, so that nobody knows whether it was done.
    """

    def __init__(self, kubernetes: KubernetesApi, cache: Cache) -> None:
        self._kubernetes = kubernetes
        self._cache = cache

    # Pods

    async def create_pod(self, body: Raw) -> None:
        """Creates a pod."""
        self._cache.pods.put(await self._kubernetes.create_pod(body))

    async def patch_pod(self, pod: AgentPod, patch: Sequence[Raw]) -> None:
        """Applies a JSON-patch to a pod.

        Raises:
            NotFoundError: it is gone.
            InvalidError: one of the patch's tests failed.
        """
        try:
            raw = await self._kubernetes.patch_pod(pod.name, patch)
        except NotFoundError:
            self._cache.pods.remove(pod.name, pod.uid)
            raise
        self._cache.pods.put(raw)

    async def delete_pod(self, pod: AgentPod, *, if_unchanged: bool = False) -> None:
        """Has a pod end that has no call to go on with; that it is gone already is no error.

        Raises:
            ConflictError: only `if_unchanged`: it is not as it was seen.
        """
        version = pod.resource_version if if_unchanged else None
        try:
            raw = await self._kubernetes.delete_pod(pod.name, pod.uid, version, GRACE_SECONDS)
        except NotFoundError:
            self._cache.pods.remove(pod.name, pod.uid)
        except ConflictError:
            if if_unchanged:
                raise
            self._cache.pods.remove(pod.name, pod.uid)  # the pod of its name is another one
        else:
            if raw.get("kind") == "Pod" and raw["metadata"].get("deletionGracePeriodSeconds"):
                self._cache.pods.put(raw)
            else:
                self._cache.pods.remove(pod.name, pod.uid)

    async def refresh_pod(self, name: str, uid: str) -> None:
        """Looks at a pod as the API server holds it now."""
        try:
            raw = await self._kubernetes.get_pod(name)
        except NotFoundError:
            self._cache.pods.remove(name, uid)
        else:
            _replace(self._cache.pods, raw, uid)

    async def refresh_pods_of(self, session_uid: str) -> None:
        """Looks for the pods that this VoiceSession has claimed."""
        for raw in await self._kubernetes.list_pods_of(session_uid):
            self._cache.pods.put(raw)

    # Our objects

    async def write_status(
        self,
        plural: str,
        object_: VoiceSession | AgentPool | AgentProfile,
        status: VoiceSessionStatus | AgentPoolStatus | AgentProfileStatus,
    ) -> None:
        """Writes the status of one of our objects, provided that the object is still as it is given.

        Raises:
            NotFoundError: it is gone.
            ConflictError: it has changed: look again, then decide again.
        """
        metadata, store = object_.metadata, self._cache.stores[plural]
        try:
            raw = await self._kubernetes.patch_status(
                plural, metadata.name, metadata.resource_version, status.to_wire()
            )
        except NotFoundError:
            store.remove(metadata.name, metadata.uid)
            raise
        store.put(raw)

    async def refresh_session(self, name: str, uid: str) -> None:
        """Looks at a VoiceSession as the API server holds it now."""
        try:
            raw = await self._kubernetes.get_session(name)
        except NotFoundError:
            self._cache.sessions.remove(name, uid)
        else:
            _replace(self._cache.sessions, raw, uid)

    async def delete_session(self, session: VoiceSession) -> None:
        """Deletes a VoiceSession; that somebody else has deleted it is no error."""
        metadata = session.metadata
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._kubernetes.delete_session(metadata.name, metadata.uid)
        self._cache.sessions.remove(metadata.name, metadata.uid)


def _replace(store: Store[Any], raw: Raw, uid: str) -> None:
    """Takes in what has this object's name now; where that is another one, the object is gone."""
    store.put(raw)
    if raw["metadata"]["uid"] != uid:
        store.remove(raw["metadata"]["name"], uid)
