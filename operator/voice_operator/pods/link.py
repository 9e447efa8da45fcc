"""Follows one call in its pod, in a task of its own, until it has ended or is closed."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import aiohttp
from pydantic import ValidationError

from voice_operator.metrics import PODS_SILENT
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.client import NoAnswerError, PodClient, is_refused
from voice_operator.pods.link_view import LinkState, LinkView, with_event
from voicesession import clock
from voicesession.assignment import ApiRequest, Heartbeat, ModelFailed, parse_pod_event
from voicesession.measures import Measured

log = logging.getLogger(__name__)

# One failure may be a lost packet or a closed connection; two in a row are a silence.
FAILURES_TO_SILENCE = 2
# A silent pod is asked again after this, twice this ... the longest, each time with jitter: thousands fall silent at
# once when this process, or its network, was away.
RECONNECT_SECONDS = 0.5
RECONNECT_SECONDS_MAX = 5.0
# Before the second try, which most often succeeds; a pod that takes requests and drops them is not asked without pause.
RETRY_SECONDS = 0.05
UNAVAILABLE_SECONDS = 5.0

# Told that the pod has taken its assignment, which was sent at that time.
OnTaken = Callable[[datetime], None]


def nobody(_sent_at: datetime) -> None:
    """Wants to know nothing."""


class PodLink:
    """The connection to one call's pod, and the task that holds it.

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
        on_model_failed: Callable[[ModelFailed], None],
        on_measured: Callable[[Measured], None],
        on_api_request: Callable[[ApiRequest], None],
        on_taken: OnTaken = nobody,
    ) -> None:
        """`resume`: the pod may have the call already, so ask it first. `assignment` None: it must have it."""
        self.pod = pod
        self.view = LinkView(pod.uid, LinkState.CONNECTING, clock.steady())
        self.heartbeat: Heartbeat | None = None  # the last one
        self._client = client
        self._assignment = assignment
        self._ask_first = resume or assignment is None
        self._on_change = on_change
        self._on_model_failed = on_model_failed
        self._on_measured = on_measured
        self._on_api_request = on_api_request
        self._on_taken = on_taken
        self._last_api_request = 0
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
            log.exception("following the pod failed", extra={"pod": self.pod.name})
            self._set_state(LinkState.REFUSED, f"internal error: {type(error).__name__}")

    async def _try_once(self) -> None:
        try:
            if self._ask_first or self._assignment is None:
                again = self.view.state is LinkState.SILENT
                async with self._client.open_events(self.pod, again=again) as response:
                    if response.status == 404 and self._assignment is not None:
                        self._ask_first = False  # it has no call: give it this one
                    else:
                        await self._read(response)
            else:
                # Whatever becomes of this request, the pod may have the call from here on.
                self._ask_first = True
                sent_at = clock.now()
                async with self._client.open_assignment(self.pod, self._assignment) as response:
                    if response.status == 200:
                        self._on_taken(sent_at)
                    await self._read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            await self._fail(error)

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 503:
            await self._wait_while_unavailable(response.status, await self._client.read_refusal(response))
            return
        if response.status != 200:
            self._refuse(response.status, await self._client.read_refusal(response))
            return
        async for line in self._client.read_lines(response):
            self._take(line)
        if self.view.ended is None:
            raise aiohttp.ServerDisconnectedError

    def _refuse(self, status: int, words: str) -> None:
        self.view = replace(self.view, refusal=status)
        self._set_state(LinkState.REFUSED, f"Pod {self.pod.name} answered {words}.")

    async def _wait_while_unavailable(self, status: int, words: str) -> None:
        # Not ready yet, or just ended: the next request, or the pod's status, will tell.
        if self.view.state is not LinkState.CONNECTING:
            self._set_state(LinkState.CONNECTING)
        if (clock.steady() - self.view.since).total_seconds() > UNAVAILABLE_SECONDS:
            self._refuse(status, words)
        await asyncio.sleep(RECONNECT_SECONDS)

    async def _fail(self, error: Exception) -> None:
        if is_refused(error):
            self._set_state(LinkState.DEAD, f"Pod {self.pod.name} refuses connections.")
            return
        self._failures += 1
        self._note_whether_it_hangs(error)
        if self._failures < FAILURES_TO_SILENCE:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            self._set_state(LinkState.SILENT, f"Pod {self.pod.name} does not answer: {type(error).__name__}.")
            await asyncio.sleep(retry_delay(self._failures))

    def _note_whether_it_hangs(self, error: Exception) -> None:
        since = self.view.unanswered_since
        if isinstance(error, NoAnswerError) != (since is not None):
            since = None if since else clock.steady()
            self.view = replace(self.view, unanswered_since=since)

    def _take(self, line: bytes) -> None:
        try:
            event = parse_pod_event(line)
        except ValidationError:
            log.warning("the pod sent a line that is no known event", extra={"pod": self.pod.name})
            return
        new = self._last_event_at is None or event.at > self._last_event_at
        if new:
            self._last_event_at = event.at
        before = self.view
        self.view = with_event(before, event, clock.steady())
        if new or isinstance(event, Heartbeat):
            self._failures = 0  # what it told before, and tells again, is no sign of life
        if isinstance(event, Heartbeat):
            self.heartbeat = event
        if isinstance(event, Measured):
            self._on_measured(event)  # which no pod tells again
        if new and isinstance(event, ModelFailed):
            self._on_model_failed(event)
        if isinstance(event, ApiRequest) and event.number > self._last_api_request:
            self._last_api_request = event.number
            self._on_api_request(event)
        if self.view.state is not LinkState.FOLLOWING:
            self._set_state(LinkState.FOLLOWING)
        elif self.view != before:
            self._on_change()

    def _set_state(self, state: LinkState, detail: str = "") -> None:
        if state is not self.view.state:
            if state is LinkState.SILENT:
                PODS_SILENT.inc()
            self.view = replace(self.view, state=state, since=clock.steady(), detail=detail)
            self._on_change()


def retry_delay(failures: int) -> float:
    """Returns for how long a silent pod is left alone after so many failures in a row."""
    doubled: float = RECONNECT_SECONDS * 2 ** min(failures - FAILURES_TO_SILENCE, 10)
    return min(RECONNECT_SECONDS_MAX, doubled) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
