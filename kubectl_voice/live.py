"""Asks the operators how calls go at this moment, over ports that stay forwarded from one question to the next."""

import contextlib
from collections.abc import AsyncIterator, Sequence

import aiohttp
from pydantic import ValidationError

from kube.client import KubernetesApi
from kubectl_voice.facts import read_pod
from kubectl_voice.forwarding import ForwardingError, forwarded
from voicesession.live_calls import CALLS_PORT, LIVE_CALLS, LiveCall

OPERATORS = "app.kubernetes.io/name=voice-agent,app.kubernetes.io/component=operator"
_ANSWER_SECONDS = 4.0


class NotToldError(Exception):
    """No operator tells how calls go; the message says why."""


class LiveCalls:
    """What operators tell of their calls. Where one is lost, all are looked for anew at the next question."""

    def __init__(self, api: KubernetesApi, context: str | None) -> None:
        self._api = api
        self._context = context
        self._ports: Sequence[int] = ()
        self._stack = contextlib.AsyncExitStack()

    async def read(self) -> dict[str, LiveCall]:
        """Returns what the operators tell, by the VoiceSession's name.

        Raises:
            NotToldError: there is no operator, or no port of one may be forwarded.
            KubernetesError: pods may not be listed.
            KubernetesUnavailableError: the API server does not answer.
        """
        try:
            if not self._ports:
                self._ports = await self._open()
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS)) as session:
                told = [await _ask(session, port) for port in self._ports]
        except ForwardingError as error:
            await self.close()
            raise NotToldError(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, ValidationError) as error:
            await self.close()
            raise NotToldError(
                f"the operator does not answer; one of an older release never does ({error!r})"
            ) from error
        return {call.name: call for calls in told for call in calls}

    async def close(self) -> None:
        """Gives the ports back."""
        self._ports = ()
        await self._stack.aclose()

    async def _open(self) -> Sequence[int]:
        """Forwards a port to each operator: all but one stand by, and know of no call."""
        pods = [read_pod(raw) for raw in await self._api.list_kind("v1", "pods", OPERATORS)]
        ready = [pod.name for pod in pods if pod.ready and not pod.deleting]
        if not ready:
            raise NotToldError(f"no operator is ready in namespace {self._api.namespace!r}")
        ways = [forwarded(f"pod/{name}", CALLS_PORT, self._api.namespace, self._context) for name in ready]
        return [await self._stack.enter_async_context(way) for way in ways]


@contextlib.asynccontextmanager
async def open_live_calls(api: KubernetesApi, context: str | None) -> AsyncIterator[LiveCalls]:
    """Yields whom to ask; gives the ports back afterwards."""
    live = LiveCalls(api, context)
    try:
        yield live
    finally:
        await live.close()


async def _ask(session: aiohttp.ClientSession, port: int) -> list[LiveCall]:
    async with session.get(f"http://127.0.0.1:{port}/calls") as answer:
        answer.raise_for_status()
        return LIVE_CALLS.validate_json(await answer.read())
