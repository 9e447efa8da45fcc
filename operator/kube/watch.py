"""Keeps a store as the API server has it: by a full list and a watch from there, again and again."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, Protocol

from kube.client import KubernetesError, KubernetesUnavailableError, Page, Raw, WatchExpiredError
from kube.store import Store

log = logging.getLogger(__name__)

Cause = Literal["resync", "expired", "error"]

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0


class Source(Protocol):
    """What can be followed; `kube.client.KubernetesApi` can, and says what it raises."""

    def list_pages(self, plural: str) -> AsyncIterator[Page]:
        """Yields all objects of one of our kinds in pages, each with the list's resource version."""

    def watch_objects(self, plural: str, version: int) -> AsyncIterator[Raw]:
        """Yields watch events, bookmarks included, until the watch ends."""


async def follow(source: Source, plural: str, store: Store[Any], on_restart: Callable[[Cause], object]) -> None:
    """Keeps the store's objects up to date until cancelled. While the API server is away, what was seen last stays.

    A full list comes with every new watch: after a silent minute, or every five. `on_restart` is told why one begins.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            await store.resync(source.list_pages(plural))
            pause = _FIRST_PAUSE
            await _watch(source, plural, store, store.listed_at)
            on_restart("resync")
            await asyncio.sleep(random.uniform(0.0, _FIRST_PAUSE))  # noqa: S311 - jitter
        except WatchExpiredError:
            on_restart("expired")
        except (KubernetesError, KubernetesUnavailableError) as error:
            on_restart("error")
            log.warning("watching again soon", extra={"plural": plural, "retrySeconds": pause, "error": error})
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, _LONGEST_PAUSE)


async def _watch(source: Source, plural: str, store: Store[Any], version: int) -> None:
    async for event in source.watch_objects(plural, version):
        if event["type"] in {"ADDED", "MODIFIED"}:
            store.put(event["object"])
        elif event["type"] == "DELETED":
            metadata = event["object"]["metadata"]
            store.remove(metadata["name"], metadata["uid"])
