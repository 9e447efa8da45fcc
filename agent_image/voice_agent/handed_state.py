"""What an agent that hands its call over tells the next one of the conversation. Pure."""

import json
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import Field, ValidationError

from voice_agent.conversation_items import Row
from voicesession.models import Model

# A line of events, with all that is around it, has to fit into the operator's buffer of 128 KiB.
LARGEST_ROWS = 64 * 1024
LARGEST_MEMORY = 32 * 1024

log = logging.getLogger(__name__)


class HandedState(Model):
    """Where the conversation stands.

    rows: the newest, with positions. memory: what was kept beside them, by its name. cut_off: the last sentence is.
    """

    rows: list[Row] = Field(default_factory=list)
    memory: dict[str, Any] = Field(default_factory=dict)
    cut_off: bool = False


def build_state(rows: Iterable[Row], memory: Mapping[str, Any] | None = None, *, cut_off: bool = False) -> HandedState:
    """Returns the state with as many of the newest rows as a line may hold, and what was kept as far as it may."""
    fitting = {name: value for name, value in (memory or {}).items() if len(json.dumps(value)) <= LARGEST_MEMORY // 2}
    return HandedState(rows=newest(list(rows)), memory=fitting, cut_off=cut_off)


def read_state(told: Mapping[str, Any]) -> HandedState:
    """Returns what the predecessor told; nothing where it speaks another language: then the database has to do."""
    try:
        return HandedState.model_validate(told)
    except ValidationError as error:
        log.warning("what the predecessor told cannot be read", extra={"fields": error.error_count()})
        return HandedState()


def newest(rows: list[Row], most: int = LARGEST_ROWS) -> list[Row]:
    """Returns the last rows that are at most `most` bytes of JSON together, in order."""
    kept: list[Row] = []
    for row in reversed(rows):
        most -= len(json.dumps(row))
        if most < 0:
            break
        kept.append(row)
    return kept[::-1]


def merge_rows(stored: Iterable[Mapping[str, Any]], told: Iterable[Row]) -> list[Mapping[str, Any]]:
    """Returns the conversation's rows as the database has them, and those that it may not have yet, in order."""
    by_item = {row["item_id"]: row for row in stored}
    by_item.update({row["itemId"]: _as_stored(row) for row in told})
    return sorted(by_item.values(), key=lambda row: row["position"])


def _as_stored(row: Row) -> Mapping[str, Any]:
    return {
        "item_id": row["itemId"],
        "position": row["position"],
        "kind": row["kind"],
        "role": row.get("role"),
        "content": row.get("content"),
        "interrupted": bool(row.get("interrupted")),
        "provisional": False,
        "created_at": datetime.fromisoformat(row["createdAt"]),
        "tool": row.get("tool"),
    }
