"""What outlives a pod, for agents' own code: in a pool, and on a laptop too.

    from voice_agent import memory

    order = memory.saved.get("pizzas", [])     # by whoever had this conversation before
    await memory.save({"pizzas": order})       # for whoever goes on, should this pod die

It is one conversation's, and a process has but one. On a laptop nobody goes on: `attempt` is 1, and what is saved stays
in the process.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livekit.agents.llm import ChatItem

LARGEST_BYTES = 64 * 1024

# Which attempt at the conversation this is: 1, and more for whoever goes on with one.
attempt: int = 1
# All that was said and done before this attempt, in order.
history: "Sequence[ChatItem]" = ()
# What was saved last, by this attempt or one before.
saved: Mapping[str, Any] = {}
# Set it to True where your code itself says the first words after another's death. Otherwise what it says before the
# customer speaks is taken for a greeting and left out, and what was left open is taken up without it.
speaks_first: bool = False

_keep: Callable[[Mapping[str, Any]], Awaitable[bool]] | None = None


async def save(value: Mapping[str, Any]) -> bool:
    """Keeps this in place of what was saved before; `saved` is it from now on.

    Returns whether the database has it. While that is away it returns after 2 s, and the writing goes on.

    Raises:
        TypeError: it is no JSON object.
        ValueError: it has more than 64 KiB as JSON, or a number that JSON does not have.
    """
    global saved  # noqa: PLW0603 - one process, one conversation
    if not isinstance(value, Mapping):
        raise TypeError(f"memory.save takes a JSON object, not a {type(value).__name__}")
    text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    size = len(text.encode(errors="replace"))
    if size > LARGEST_BYTES:
        raise ValueError(f"memory.save takes at most {LARGEST_BYTES} bytes of JSON; these are {size}")
    saved = json.loads(text)
    return await _keep(saved) if _keep is not None else False


def begin(number: int, keep: Callable[[Mapping[str, Any]], Awaitable[bool]]) -> None:
    """Says which attempt this process is at, and how what it saves is kept. The runtime's; not for agents' code."""
    global attempt, _keep
    attempt, _keep = number, keep


def recall(items: "Sequence[ChatItem]", kept: Mapping[str, Any]) -> None:
    """Says what earlier attempts have left. The runtime's; not for agents' code."""
    global history, saved
    history, saved = items, kept
