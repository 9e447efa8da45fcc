"""Full lists of the API server: each watch begins by one, and every minute they are compared with the cache again."""

import asyncio
import logging

from kube.client import KubernetesApi, KubernetesError, KubernetesUnavailableError
from voice_operator.cache import PODS, Cache
from voice_operator.metrics import MISSED_DELETIONS

log = logging.getLogger(__name__)


class Resync:
    """Lists kinds when asked to, and all of them every `seconds` while `run` runs."""

    def __init__(self, kubernetes: KubernetesApi, cache: Cache, seconds: float) -> None:
        self._kubernetes = kubernetes
        self._cache = cache
        self._seconds = seconds

    async def list_all(self, plural: str) -> int:
        """Takes in a full list of a kind; returns a resource version up to which the cache has everything.

        Raises:
            KubernetesError: it was refused.
            KubernetesUnavailableError: there was no answer.
        """
        store, kubernetes = self._cache.stores[plural], self._kubernetes
        gone = await store.resync(kubernetes.list_pod_pages() if plural == PODS else kubernetes.list_pages(plural))
        if gone:
            MISSED_DELETIONS.labels(plural).inc(len(gone))
            log.warning(
                "objects were gone without a word", extra={"plural": plural, "count": len(gone), "objects": gone[:5]}
            )
        return store.listed_at

    async def run(self) -> None:
        """Compares until cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            for plural in self._cache.stores:
                try:
                    await self.list_all(plural)
                except (KubernetesUnavailableError, KubernetesError) as error:
                    log.warning("resync failed", extra={"plural": plural, "error": error})
                except Exception:
                    # It finds what watches miss: whatever an object looks like, it must not end.
                    log.exception("resync failed", extra={"plural": plural})
