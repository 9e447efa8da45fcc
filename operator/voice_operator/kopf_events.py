"""Takes watch events from kopf before kopf prepares them: ours are seen by one function, which needs nothing of that.

For each event kopf makes loggers, a patch, a diff with what it saw before and a record of its handlers' progress: a
fifth of the operator's CPU. The function that is replaced here is private to kopf, whose version is pinned for it.
"""

import logging
from collections.abc import Callable
from typing import Any

import kopf
from kopf._core.reactor import processing

log = logging.getLogger(__name__)


def hand_events_to(see: Callable[..., Any]) -> None:
    """Has the watches of operators that start from now on call `see` with each event, as kopf would.

    What is watched is still what kopf has handlers for.
    """

    async def process(*, memobase: Any, resource: kopf.Resource, raw_event: kopf.RawEvent, **_: Any) -> None:
        try:
            await see(memo=memobase, resource=resource, event=raw_event)
        except Exception:
            # One object that cannot be taken in must not end the watch of all the others.
            log.exception("an event could not be taken in", extra={"plural": resource.plural})

    processing.process_resource_event = process  # type: ignore[assignment]
