"""HTTP to agent pods: gives a call, asks for its events, for its end, and for what it could not write."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from voice_operator.loop_lag import LoopLag
from voice_operator.pods.agent_pod import AgentPod
from voicesession.assignment import ApiAnswer, EndRequest, HandOverRequest, Preparation, TakeOver
from voicesession.models import EndReason, Model
from voicesession.names import AGENT_PORT
from voicesession.pod_seal import SEALED, PodSealError, seal
from voicesession.pod_tokens import Purpose, sign_pod_request
from voicesession.spool import LARGEST_PIECE, MOST_PIECES, Spool

PROBE_SECONDS_MAX = 1.0
# A pod answers a request at once; it does the work afterwards. Connecting is in it: a lost first packet is sent again
# after a second.
ANSWER_SECONDS_MAX = 1.5
# A spool is large at worst; a pod that is ending has 9 s for it.
SPOOL_SECONDS_MAX = 6.0
_LARGEST_SPOOL = MOST_PIECES * LARGEST_PIECE * 3 // 2
# Heartbeats come at most 3 s apart.
HEARTBEAT_SECONDS = 5.0
# So many pods are asked for their events at once: all at once, after a restart, would hold up the loop for longer than
# any of them is waited for. Those that did not answer before wait apart, and hold up nobody else.
OPENED_AT_ONCE = 100
OPENED_AGAIN_AT_ONCE = 50


class PodRequestError(Exception):
    """A pod did not answer a request, or refused it."""


class NotEndedError(PodRequestError):
    """A pod was asked for what only the end of its call makes known, and its call goes on."""


class NoAnswerError(TimeoutError):
    """A pod's port took the connection, and nobody answered."""


@dataclass
class _Progress:
    """How far a request came."""

    connected: bool = False


class PodClient:
    """HTTP to agent pods, with a token for each request."""

    def __init__(
        self,
        key: Ed25519PrivateKey,
        port: int = AGENT_PORT,
        request_class: type[aiohttp.ClientRequest] = aiohttp.ClientRequest,
    ) -> None:
        """`request_class`: what aiohttp sends requests by."""
        self._key = key
        self._port = port
        connector = aiohttp.TCPConnector(limit=0, socket_factory=_keepalive_socket)
        # All time-outs are of our own: they do not count this process's own lateness.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=None, sock_read=None)
        self._http = aiohttp.ClientSession(
            connector=connector, timeout=timeout, request_class=request_class, trace_configs=[_trace_connections()]
        )
        self._lag = LoopLag()
        self._lag.start()
        self._opening = asyncio.Semaphore(OPENED_AT_ONCE)
        self._opening_again = asyncio.Semaphore(OPENED_AGAIN_AT_ONCE)

    async def close(self) -> None:
        """Closes all connections."""
        self._lag.stop()
        await self._http.close()

    @contextlib.asynccontextmanager
    async def open_assignment(self, pod: AgentPod, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """Gives a call to its pod; the answer's body is the stream of its events."""
        async with self._request(pod, "POST", "/assignment", Purpose.ASSIGNMENT, body) as response:
            yield response

    @contextlib.asynccontextmanager
    async def open_events(self, pod: AgentPod, *, again: bool = False) -> AsyncIterator[aiohttp.ClientResponse]:
        """Asks a pod for the events of the call it has, from the beginning; when its turn is.

        `again`: it did not answer the last time.
        """
        gate = self._opening_again if again else self._opening
        async with self._request(pod, "GET", "/events", Purpose.EVENTS, gate=gate) as response:
            yield response

    async def read_lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Yields the lines of a stream of events until it ends.

        Raises:
            TimeoutError: there was no heartbeat for too long.
        """
        while True:
            async with self._lag.patience(HEARTBEAT_SECONDS):
                line = await response.content.readline()
            if not line:
                return
            yield line

    async def read_refusal(self, response: aiohttp.ClientResponse) -> str:
        """Returns a refusal's status and detail; never the request, which holds secrets."""
        try:
            async with self._lag.patience(ANSWER_SECONDS_MAX):
                problem = await response.json(content_type=None)
            detail = str(problem.get("detail") or problem.get("title") or "")
        except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError):
            detail = ""
        return f"{response.status} {detail}".strip()

    async def end(self, pod: AgentPod, reason: EndReason, message: str = "") -> None:
        """Asks a pod to end its call.

        Raises:
            PodRequestError: it cannot be asked.
        """
        await self._post(pod, "/end", Purpose.END, EndRequest(reason=reason, message=message))

    async def hand_over(self, pod: AgentPod, patience: float) -> None:
        """Asks a pod to hand its call over.

        Raises:
            PodRequestError: it cannot be asked, or is in no call.
        """
        await self._post(pod, "/hand-over", Purpose.HAND_OVER, HandOverRequest(patience_seconds=patience))

    async def take_over(self, pod: AgentPod, room_token: str, state: dict[str, Any]) -> None:
        """Has a standby join, or know what its predecessor heard late.

        Raises:
            PodRequestError: it cannot be told, or stands by for no call.
        """
        await self._post(pod, "/take-over", Purpose.TAKE_OVER, TakeOver(room_token=room_token, state=state))

    async def answer_api_request(self, pod: AgentPod, answer: ApiAnswer) -> None:
        """Tells a pod what came of what its code has asked of LiveKit.

        Raises:
            PodRequestError: it cannot be told, or has no call.
        """
        await self._post(pod, "/api-answer", Purpose.API_ANSWER, answer)

    async def prepare(self, pod: AgentPod, preparation: Preparation) -> None:
        """Tells an idle pod what it can do ahead of its call.

        Raises:
            PodRequestError: it cannot be told.
        """
        await self._post(pod, "/prepare", Purpose.PREPARE, preparation)

    async def read_spool(self, pod: AgentPod) -> Spool | None:
        """Returns what a pod could not write of its call; None where it has nothing, or has exited.

        Raises:
            NotEndedError: its call goes on.
            PodRequestError: it cannot be asked just now.
        """
        try:
            async with self._request(pod, "GET", "/spool", Purpose.SPOOL) as answer:
                if answer.status == 404:
                    return None
                if answer.status == 409:
                    raise NotEndedError(f"/spool of pod {pod.name}: {await self.read_refusal(answer)}")
                if answer.status != 200:
                    raise PodRequestError(f"/spool of pod {pod.name}: {await self.read_refusal(answer)}")
                async with self._lag.patience(SPOOL_SECONDS_MAX):
                    return Spool.model_validate_json(await _read_at_most(answer, _LARGEST_SPOOL))
        except ValidationError as error:
            raise PodRequestError(f"/spool of pod {pod.name}: {error.error_count()} fields are not as agreed") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if is_refused(error):
                return None
            raise PodRequestError(f"/spool of pod {pod.name}: {type(error).__name__}: {error}") from error

    async def let_go_of_spool(self, pod: AgentPod) -> None:
        """Tells a pod that what it could not write is kept: it exits.

        Raises:
            PodRequestError: it cannot be told.
        """
        await self._order(pod, "DELETE", "/spool", Purpose.SPOOL_KEPT)

    async def is_ready(self, pod: AgentPod) -> bool:
        """Tells whether a pod says that it can take a call."""
        try:
            async with (
                self._lag.patience(PROBE_SECONDS_MAX),
                self._http.get(f"http://{pod.host}:{self._port}/readyz") as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _post(self, pod: AgentPod, path: str, purpose: Purpose, body: Model) -> None:
        await self._order(pod, "POST", path, purpose, body.model_dump_json(by_alias=True).encode())

    async def _order(self, pod: AgentPod, method: str, path: str, purpose: Purpose, body: bytes = b"") -> None:
        try:
            async with self._request(pod, method, path, purpose, body) as answer:
                if answer.status >= 300:
                    raise PodRequestError(f"{path} of pod {pod.name}: {await self.read_refusal(answer)}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PodRequestError(f"{path} of pod {pod.name}: {type(error).__name__}: {error}") from error

    @contextlib.asynccontextmanager
    async def _request(
        self,
        pod: AgentPod,
        method: str,
        path: str,
        purpose: Purpose,
        body: bytes = b"",
        gate: AbstractAsyncContextManager[object] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        async with gate or contextlib.nullcontext():
            response = await self._send(pod, method, path, purpose, body)
        async with response:
            yield response

    async def _send(
        self, pod: AgentPod, method: str, path: str, purpose: Purpose, body: bytes
    ) -> aiohttp.ClientResponse:
        content_type = "application/json"
        if body and pod.seal_key:
            body, content_type = _seal(pod, purpose, body), SEALED
        headers = {
            "Authorization": f"Bearer {sign_pod_request(self._key, pod.uid, purpose, body)}",
            "Content-Type": content_type,
        }
        url, progress = f"http://{pod.host}:{self._port}{path}", _Progress()
        try:
            async with self._lag.patience(ANSWER_SECONDS_MAX):
                return await self._http.request(
                    method, url, data=body or None, headers=headers, trace_request_ctx=progress
                )
        except TimeoutError as error:
            raise (NoAnswerError if progress.connected else TimeoutError)(str(error)) from error


def _seal(pod: AgentPod, purpose: Purpose, body: bytes) -> bytes:
    try:
        return seal(pod.seal_key, pod.uid, purpose, body)
    except PodSealError as error:
        raise OSError(f"nothing can be sealed for pod {pod.name}: {error}") from error


def is_refused(error: Exception) -> bool:
    """Tells whether nobody listens at a pod's port: there is no process any more."""
    return isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno == errno.ECONNREFUSED


async def _read_at_most(response: aiohttp.ClientResponse, most: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise aiohttp.ClientPayloadError("more than any spool has")
    return bytes(body)


def _trace_connections() -> aiohttp.TraceConfig:
    """Returns what notes in a request's _Progress that it has its connection."""

    async def note(_session: object, context: SimpleNamespace, _params: object) -> None:
        if isinstance(context.trace_request_ctx, _Progress):
            context.trace_request_ctx.connected = True

    config = aiohttp.TraceConfig()
    config.on_connection_create_end.append(note)
    config.on_connection_reuseconn.append(note)
    return config


def _keepalive_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    # A vanished node breaks no TCP connection: notice within 5 s, below the heartbeats too.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 3)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    return made
