"""Keeps chat models awake while the pod waits, where a provider says so: a server that loads its model does so then."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from voicesession.models import Provider

# A large model on a slow disk.
ASK_SECONDS = 180.0
# Servers that put an unused model away do so after five minutes and more.
AGAIN_SECONDS = 240.0

log = logging.getLogger(__name__)


class ModelWarmer:
    """Asks the chat models of those providers for one word, again and again, from `start` to `stop`."""

    def __init__(self, providers: Sequence[Provider], ask: Callable[[Provider], Awaitable[None]]) -> None:
        """`ask` asks a provider's chat model for one word; it may raise whatever the model's client does."""
        self._providers = [provider for provider in providers if provider.warm_up and provider.llm]
        self._ask = ask
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins: the pod waits for a call."""
        self._tasks = [
            asyncio.create_task(self._keep_warm(provider), name=f"warm up {provider.name}")
            for provider in self._providers
        ]

    def stop(self) -> None:
        """Stops: a call has come, whose own requests do the same."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    async def _keep_warm(self, provider: Provider) -> None:
        while True:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    await self._ask(provider)
            except Exception as error:
                # The call will try by itself, and tell.
                log.warning("a chat model could not be warmed up", extra={"provider": provider.name, "error": error})
            await asyncio.sleep(AGAIN_SECONDS)
