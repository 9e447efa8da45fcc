"""Speaks to agent pods: gives a call, follows its events, asks for its end."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from voice_operator.calls.decide import LinkState, LinkView
from voice_operator.metrics import ANSWER_SECONDS, CONNECT_SECONDS
from voice_operator.pods.agent_pod import AgentPod
from voicesession import clock
from voicesession.assignment import (
    Accepted,
    CallEnded,
    EndRequest,
    Heartbeat,
    Joined,
    PodEvent,
    Preparation,
    RoomDeletionRequested,
    Turn,
    parse_pod_event,
)
from voicesession.models import EndReason, Model
from voicesession.names import AGENT_PORT
from voicesession.pod_tokens import Purpose, sign_pod_request

log = logging.getLogger(__name__)

CONNECT_SECONDS_MAX = 1.0
# A pod answers a request at once; it does the work afterwards.
ANSWER_SECONDS_MAX = 1.5
# Heartbeats come at most 3 s apart: three missing in a row are a silence.
HEARTBEAT_SECONDS = 9.0
# One failure may be a lost packet or a closed connection; two in a row are a silence.
FAILURES_TO_SILENCE = 2
RECONNECT_SECONDS = 0.5
# Before the second try, which most often succeeds; a pod that takes requests and drops them is not asked without pause.
RETRY_SECONDS = 0.05
UNAVAILABLE_SECONDS = 5.0


class PodRequestError(Exception):
    """A pod did not answer a request, or refused it."""


class PodClient:
    """HTTP to agent pods, with a token for each request."""

    def __init__(self, key: Ed25519PrivateKey, port: int = AGENT_PORT) -> None:
        self._key = key
        self._port = port
        connector = aiohttp.TCPConnector(limit=0, socket_factory=_keepalive_socket)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS_MAX, sock_read=HEARTBEAT_SECONDS)
        self._http = aiohttp.ClientSession(connector=connector, timeout=timeout)

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
                    raise PodRequestError(f"{path} of pod {pod.name}: {await _read_refusal(answer)}")
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


class PodLink:
    """Follows one call in its pod, in a task of its own, until it has ended or is closed.

    A stream that breaks or falls silent is opened again: the pod tells everything from the beginning. `on_change` is
    called whenever `view` says something new that a decision may depend on.
    """

    def __init__(
        self,
        client: PodClient,
        pod: AgentPod,
        assignment: bytes | None,
        *,
        resume: bool,
        on_change: Callable[[], None],
    ) -> None:
        """`resume`: the pod may have the call already, so ask it first. `assignment` None: it must have it."""
        self.pod = pod
        self.view = LinkView(pod.uid, LinkState.CONNECTING, clock.now())
        self._client = client
        self._assignment = assignment
        self._ask_first = resume or assignment is None
        self._on_change = on_change
        self._last_event_at: datetime | None = None
        self._failures = 0
        self._task = asyncio.create_task(self._run(), name=f"link-{pod.name}")

    def cancel(self) -> None:
        """Stops following; the pod goes on."""
        self._task.cancel()

    async def close(self) -> None:
        """Stops following, and waits until that is so."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self.view.ended is None and self.view.state not in {LinkState.DEAD, LinkState.REFUSED}:
                await self._try_once()
        except Exception as error:
            log.exception("following pod %s failed", self.pod.name)
            self._set_state(LinkState.REFUSED, f"internal error: {type(error).__name__}")

    async def _try_once(self) -> None:
        try:
            if self._ask_first or self._assignment is None:
                async with self._client.open_events(self.pod) as response:
                    if response.status == 404 and self._assignment is not None:
                        self._ask_first = False  # it has no call: give it this one
                    else:
                        await self._read(response)
            else:
                # Whatever becomes of this request, the pod may have the call from here on.
                self._ask_first = True
                async with self._client.open_assignment(self.pod, self._assignment) as response:
                    await self._read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            await self._fail(error)

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 503:
            await self._wait_while_unavailable(await _read_refusal(response))
            return
        if response.status != 200:
            self._set_state(LinkState.REFUSED, f"Pod {self.pod.name} answered {await _read_refusal(response)}.")
            return
        self._failures = 0
        async for line in response.content:
            self._take(line)
        if self.view.ended is None:
            raise aiohttp.ServerDisconnectedError

    async def _wait_while_unavailable(self, refusal: str) -> None:
        # Not ready yet, or just ended: the next request, or the pod's status, will tell.
        if self.view.state is not LinkState.CONNECTING:
            self._set_state(LinkState.CONNECTING)
        if (clock.now() - self.view.since).total_seconds() > UNAVAILABLE_SECONDS:
            self._set_state(LinkState.REFUSED, f"Pod {self.pod.name} answered {refusal}.")
        await asyncio.sleep(RECONNECT_SECONDS)

    async def _fail(self, error: Exception) -> None:
        if _is_refused(error):
            self._set_state(LinkState.DEAD, f"Pod {self.pod.name} refuses connections.")
            return
        self._failures += 1
        if self._failures < FAILURES_TO_SILENCE:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            self._set_state(LinkState.SILENT, f"Pod {self.pod.name} does not answer: {type(error).__name__}.")
            await asyncio.sleep(RECONNECT_SECONDS)

    def _take(self, line: bytes) -> None:
        try:
            event = parse_pod_event(line)
        except ValidationError:
            log.warning("pod %s sent a line that is no known event", self.pod.name)
            return
        new = self._last_event_at is None or event.at > self._last_event_at
        if new:
            self._last_event_at = event.at
        before = self.view
        self.view = _apply(before, event)
        if new:
            _observe(event)
        if self.view.state is not LinkState.FOLLOWING:
            self._set_state(LinkState.FOLLOWING)
        elif self.view != before:
            self._on_change()

    def _set_state(self, state: LinkState, detail: str = "") -> None:
        if state is not self.view.state:
            self.view = replace(self.view, state=state, since=clock.now(), detail=detail)
            self._on_change()


def _apply(view: LinkView, event: PodEvent) -> LinkView:
    match event:
        case Accepted():
            return replace(view, accepted=True)
        case Joined():
            return replace(view, accepted=True, joined=event, joined_at=view.joined_at or clock.now())
        case RoomDeletionRequested():
            return replace(view, deletion_requested=True)
        case CallEnded():
            return replace(view, ended=event)
        case Heartbeat() | Turn():
            return view


def _observe(event: PodEvent) -> None:
    if isinstance(event, Joined):
        CONNECT_SECONDS.observe(event.connect_millis / 1000)
    elif isinstance(event, Turn) and event.answer_millis is not None:
        ANSWER_SECONDS.observe(event.answer_millis / 1000)


def _is_refused(error: Exception) -> bool:
    return isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno == errno.ECONNREFUSED


async def _read_refusal(response: aiohttp.ClientResponse) -> str:
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
