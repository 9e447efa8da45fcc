"""HTTP to agent pods: gives a call, asks for its events, asks for its end."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from voice_operator.pods.agent_pod import AgentPod
from voicesession.assignment import EndRequest, Preparation
from voicesession.models import EndReason, Model
from voicesession.names import AGENT_PORT
from voicesession.pod_tokens import Purpose, sign_pod_request

CONNECT_SECONDS_MAX = 1.0
# A pod answers a request at once; it does the work afterwards.
ANSWER_SECONDS_MAX = 1.5
# Heartbeats come at most 3 s apart: three missing in a row are a silence.
HEARTBEAT_SECONDS = 9.0


class PodRequestError(Exception):
    """A pod did not answer a request, or refused it."""


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
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS_MAX, sock_read=HEARTBEAT_SECONDS)
        self._http = aiohttp.ClientSession(connector=connector, timeout=timeout, request_class=request_class)

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.close()

    @contextlib.asynccontextmanager
    async def open_assignment(self, pod: AgentPod, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """Gives a call to its pod; the answer's body is the stream of its events."""
        async with self._request(pod, "POST", "/assignment", Purpose.ASSIGNMENT, body) as response:
            yield response

    @contextlib.asynccontextmanager
    async def open_events(self, pod: AgentPod) -> AsyncIterator[aiohttp.ClientResponse]:
        """Asks a pod for the events of the call it has, from the beginning."""
        async with self._request(pod, "GET", "/events", Purpose.EVENTS) as response:
            yield response

    async def end(self, pod: AgentPod, reason: EndReason, message: str = "") -> None:
        """Asks a pod to end its call.

        Raises:
            PodRequestError: it cannot be asked.
        """
        await self._post(pod, "/end", Purpose.END, EndRequest(reason=reason, message=message))

    async def prepare(self, pod: AgentPod, preparation: Preparation) -> None:
        """Tells an idle pod what it can do ahead of its call.

        Raises:
            PodRequestError: it cannot be told.
        """
        await self._post(pod, "/prepare", Purpose.PREPARE, preparation)

    async def is_ready(self, pod: AgentPod) -> bool:
        """Tells whether a pod says that it can take a call."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                async with self._http.get(f"http://{pod.ip}:{self._port}/readyz") as response:
                    return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _post(self, pod: AgentPod, path: str, purpose: Purpose, body: Model) -> None:
        try:
            async with self._request(
                pod, "POST", path, purpose, body.model_dump_json(by_alias=True).encode()
            ) as answer:
                if answer.status >= 300:
                    raise PodRequestError(f"{path} of pod {pod.name}: {await read_refusal(answer)}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PodRequestError(f"{path} of pod {pod.name}: {type(error).__name__}: {error}") from error

    @contextlib.asynccontextmanager
    async def _request(
        self, pod: AgentPod, method: str, path: str, purpose: Purpose, body: bytes = b""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {
            "Authorization": f"Bearer {sign_pod_request(self._key, pod.uid, purpose, body)}",
            "Content-Type": "application/json",
        }
        url = f"http://{pod.ip}:{self._port}{path}"
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            response = await self._http.request(method, url, data=body or None, headers=headers)
        async with response:
            yield response


async def read_refusal(response: aiohttp.ClientResponse) -> str:
    """Returns a refusal's status and detail; never the request, which holds secrets."""
    try:
        problem = await response.json(content_type=None)
        detail = str(problem.get("detail") or problem.get("title") or "")
    except (aiohttp.ClientError, ValueError, AttributeError):
        detail = ""
    return f"{response.status} {detail}".strip()


def _keepalive_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    # A vanished node breaks no TCP connection: notice within 9 s, below the heartbeats too.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    return made
