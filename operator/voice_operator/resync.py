"""Compares the cache with full lists of the API server: at the start, and then for what a watch has missed."""

import asyncio
import logging
from collections.abc import AsyncIterator

from kube.client import KubernetesApi, KubernetesError, KubernetesUnavailableError, Page
from voice_operator.cache import PODS, Cache
from voice_operator.metrics import MISSED_DELETIONS

log = logging.getLogger(__name__)

_RELIST_SECONDS = 2.0
# The watches begin some time after the first lists; what was deleted in between is found by an early comparison.
_FIRST_SECONDS = 5.0


class Resync:
    """Lists everything, every `seconds` while `run` runs."""

    def __init__(self, kubernetes: KubernetesApi, cache: Cache, seconds: float) -> None:
        self._kubernetes = kubernetes
        self._cache = cache
        self._seconds = seconds

    async def list_until_complete(self) -> None:
        """Returns when the cache has everything there is, waiting for the API server as long as it takes."""
        while True:
            try:
                await self._list_all()
            except (KubernetesUnavailableError, KubernetesError) as error:
                log.warning("cannot read the cluster yet", extra={"retrySeconds": _RELIST_SECONDS, "error": error})
                await asyncio.sleep(_RELIST_SECONDS)
            else:
                return

    async def run(self) -> None:
        """Compares until cancelled."""
        await asyncio.sleep(_FIRST_SECONDS)
        while True:
            try:
                await self._list_all()
            except (KubernetesUnavailableError, KubernetesError) as error:
                log.warning("resync failed", extra={"retrySeconds": self._seconds, "error": error})
            except Exception:
                # It finds what watches miss: whatever an object looks like, it must not end.
                log.exception("resync failed", extra={"retrySeconds": self._seconds})
            await asyncio.sleep(self._seconds)

    async def _list_all(self) -> None:
        for plural, store in self._cache.stores.items():
            gone = await store.resync(self._list(plural))
            if gone:
                MISSED_DELETIONS.labels(plural).inc(len(gone))
                fields = {"plural": plural, "count": len(gone), "objects": gone[:5]}
                log.warning("objects were gone without a word", extra=fields)

    def _list(self, plural: str) -> AsyncIterator[Page]:
        return self._kubernetes.list_pod_pages() if plural == PODS else self._kubernetes.list_pages(plural)
