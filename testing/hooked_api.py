"""A client of the API server around whose requests something happens: the faults of a test."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from kube.client import KubernetesApi, Raw


class HookedApi(KubernetesApi):
    """A client with something that happens before or after its requests; hooks run in the loop they were given in."""

    def __init__(self, inner: KubernetesApi) -> None:
        super().__init__(inner._api, inner._namespace)
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str, Any], Awaitable[None]] | None = None
        self.after: Callable[[str, str, Any], Awaitable[None]] | None = None

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Raw:
        self.requests.append((method, path.split("?", maxsplit=1)[0]))
        if self.before:
            await self.before(method, path, body)
        answer = await super().request(method, path, body, content_type, accept)
        if self.after:
            await self.after(method, path, body)
        return answer


def in_loop(loop: asyncio.AbstractEventLoop, doing: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Returns a hook that runs in `loop`, where the test and its stubs live, and waits for it."""

    async def hook(*arguments: Any) -> None:
        async def run() -> None:
            await doing(*arguments)

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), loop))

    return hook


def is_claim(method: str, path: str) -> bool:
    """Tells whether a request claims a pod."""
    return method == "PATCH" and "/pods/" in path
