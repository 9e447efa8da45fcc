"""What of kopf's private functions is replaced. Its version is pinned for that, and a test names it.

Three things that kopf cannot do are done here. An event of ours is seen by one function at once, without the queue and
the task for each object, the loggers, patches, diffs and progress that kopf has for them: a third of the operator's
CPU. A list is the cache's own, page by page, and the watch goes on from there: nothing is listed twice, and no deletion
falls between a list and its watch. And whoever keeps the watches running hears each sign of life of each of them, and
is asked when one is to begin anew after an error, which kopf would end itself for.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any, Protocol
from urllib.parse import urlsplit

import kopf
from kopf._cogs.clients import api, errors, fetching, watching

log = logging.getLogger(__name__)

_GONE = 410
_OF_OBJECTS = frozenset({"ADDED", "MODIFIED", "DELETED"})
# The API server keeps a watch for minutes. One that ends sooner than this would end again at once.
_SHORT_SECONDS = 1.0


class Listener(Protocol):
    """Who keeps the watches running; all by the plural of a kind."""

    def heard(self, plural: str) -> None:
        """The API server has answered a watch of this kind, or told something on it."""

    async def list(self, plural: str) -> int:
        """Takes in a full list; returns its resource version, from which the watch goes on."""

    def pause(self, plural: str) -> float:
        """Returns for how many seconds to wait before a watch begins anew that has ended by an error, or at once."""


# Takes in an event of an object: the plural of its kind, the event's type, and the object.
See = Callable[[str, str, Any], object]

# Tasks that kopf starts have the context of whoever has started kopf.
listening: ContextVar[Listener] = ContextVar("the listener to kopf's watches")
seeing: ContextVar[See] = ContextVar("who takes in the events of kopf's watches")


def take_events() -> None:
    """Has the watches of operators that start from now on tell events to `seeing`, and how they are to `listening`.

    Whoever starts kopf sets both before. What is watched is still what kopf has handlers for, and those are not called.
    """

    async def fetch_objs(*, resource: kopf.Resource, **_: Any) -> AsyncIterator[tuple[list[Any], str]]:
        yield [], str(await listening.get().list(resource.plural))

    fetching.fetch_objs = fetch_objs
    # Of each try of each watch while the API server is away; its listener tells what matters of it.
    watching.logger.setLevel(logging.CRITICAL)
    watching.watch_objs = _watching(watching.watch_objs)
    api.request = _noted(api.request)


def _watching(watch_objs: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    """Returns a watch that hands over each event, and takes every error for one that asks for a new list (410).

    To kopf it tells bookmarks alone: from where to go on.
    """

    async def watch(*, resource: kopf.Resource, **arguments: Any) -> AsyncIterator[Any]:
        listener, plural, began = listening.get(), resource.plural, time.monotonic()
        async with contextlib.aclosing(_with_refusals(watch_objs(resource=resource, **arguments))) as events:
            async for event in events:
                listener.heard(plural)
                if event["type"] in _OF_OBJECTS:
                    _hand_over(plural, event)
                    yield {"type": "BOOKMARK", "object": event["object"]}
                    continue
                if event["type"] != "ERROR":
                    yield event
                    continue
                code = event["object"].get("code")
                log.warning("a watch has ended by an error", extra={"plural": plural, "status": code})
                if code != _GONE or time.monotonic() - began < _SHORT_SECONDS:
                    await asyncio.sleep(listener.pause(plural))
                yield {"type": "ERROR", "object": {"code": _GONE}}
                return
        if time.monotonic() - began < _SHORT_SECONDS:
            await asyncio.sleep(listener.pause(plural))

    return watch


def _hand_over(plural: str, event: Any) -> None:
    try:
        seeing.get()(plural, event["type"], event["object"])
    except Exception:
        # One object that cannot be taken in must not end the watch of all the others.
        log.exception("an event could not be taken in", extra={"plural": plural})


async def _with_refusals(events: Any) -> AsyncGenerator[Any, None]:
    """Yields events; that a watch is refused since its version is too old is told as an event, as it may be too."""
    try:
        async with contextlib.aclosing(events):
            async for event in events:
                yield event
    except errors.APIError as error:
        if error.status != _GONE:
            raise
        yield {"type": "ERROR", "object": {"code": _GONE}}


def _noted(request: Callable[..., Any]) -> Callable[..., Any]:
    """Returns kopf's request, each of whose answers is a sign of life: quiet watches give no other."""

    async def ask(*, url: str, **arguments: Any) -> Any:
        response = await request(url=url, **arguments)
        listening.get().heard(urlsplit(url).path.rpartition("/")[2])
        return response

    return ask
