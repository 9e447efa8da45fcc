"""Asks an odd server: with a patience of the test's own, and all its oddities at once."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import httpx2
from livekit import rtc
from livekit.agents import APIConnectOptions, APIError
from openai import AsyncClient

from testing.odd_server import Reply, running_odd_server
from voice_agent.answers.client import PATIENCE, ModelClient, Patience
from voice_agent.session_watch import find_wrong_answer

# As a call's, but at once.
TRIES = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=15)

# However busy the test's machine is.
PATIENT = Patience(connect=60, answer=120, stall=120)


class PatientClient(AsyncClient):
    """OpenAI's, whose requests have this patience."""

    def __init__(self, patience: Patience, **options: Any) -> None:
        """`options` are the base's."""
        super().__init__(api_key="k", max_retries=0, **options)
        self._patience = patience

    async def _prepare_request(self, request: httpx2.Request) -> None:
        request.extensions = {**request.extensions, PATIENCE: self._patience}


class Oddity(Protocol):
    """Something that a server does: its name, and what it answers in turn."""

    @property
    def name(self) -> str: ...

    @property
    def replies(self) -> list[Reply]: ...


_Odd = TypeVar("_Odd", bound=Oddity)
_Outcome = TypeVar("_Outcome")


async def try_all(
    oddities: Sequence[_Odd], attempt: Callable[[_Odd, str, ModelClient], Awaitable[_Outcome]]
) -> dict[str, tuple[_Outcome, int]]:
    """Returns by each one's name what came of it, and how often its server was asked.

    `attempt` is given the server's URL, and the client to ask by.
    """
    keys = [f"odd{number}" for number, _ in enumerate(oddities)]
    replies = {key: odd.replies for key, odd in zip(keys, oddities, strict=True)}
    async with running_odd_server(replies) as server, ModelClient() as http:
        outcomes = await asyncio.gather(
            *(attempt(odd, server.url(key), http) for key, odd in zip(keys, oddities, strict=True))
        )
        asked = [len(server.asked.get(key, [])) for key in keys]
        names = [odd.name for odd in oddities]
        return dict(zip(names, zip(outcomes, asked, strict=True), strict=True))


@contextlib.contextmanager
def noting(model: rtc.EventEmitter[Any], errors: list[Exception], name: str) -> Iterator[None]:
    """Notes in `errors` what a model fails by; nothing where a later try has made it good. `name`: the oddity's."""
    model.on("error", lambda event: errors.append(event.error))
    try:
        yield
    except APIError:
        assert errors, name
    else:
        errors.clear()


def describe(error: Exception) -> str:
    """Returns how a failure is named: what was answered, its status, or its kind."""
    return find_wrong_answer(error) or str(getattr(error, "status_code", type(error).__name__))
