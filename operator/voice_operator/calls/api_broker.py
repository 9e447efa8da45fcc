"""Asks LiveKit for what agents' code may ask of its server API, in place of the pods, which hold no key."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from rooms.client import RoomClient
from rooms.room_requests import RoomRequestError, read_request
from voice_operator.cache import Cache
from voice_operator.calls.memory import CallMemory, Calls
from voice_operator.metrics import AGENT_REQUESTS
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.client import PodClient, PodRequestError
from voicesession import clock
from voicesession.admission import is_finished
from voicesession.assignment import ApiAnswer, ApiRequest
from voicesession.models import VoiceSession
from voicesession.server_api import MOST_AT_ONCE, ApiRefusal, decide_request, refuse_method

log = logging.getLogger(__name__)

# Of one pod: so many at once, then so many a second. The next ones wait.
BURST = 20
REQUESTS_PER_SECOND = 5.0
# Our own pods have half of it under way, and send the next one while the last answer is on its way back.
MOST_OF_A_POD = 2 * MOST_AT_ONCE
# Of all pods: LiveKit has other things to do, and so has this process.
MOST_OF_ALL = 32
# Less than a pod waits. LiveKit has 5 s of it, an answer's way back a second and a half for each try.
SECONDS_MAX = 9.0
ANSWER_TRIES = 3
RETRY_SECONDS = 0.3
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass
class Pace:
    """How often one pod may ask. `due`: when its last request was due, had all come evenly; by the steady clock."""

    due: datetime = _LONG_AGO

    def count(self, now: datetime) -> float:
        """Counts a request at `now`; returns for how many seconds it waits."""
        interval = timedelta(seconds=1 / REQUESTS_PER_SECOND)
        self.due = max(self.due, now - BURST * interval) + interval
        return max(0.0, (self.due - now).total_seconds())


@dataclass
class _Asker:
    """One pod's agent, and the VoiceSession by uid that the pod was claimed for."""

    uid: str
    pod: AgentPod
    pace: Pace = field(default_factory=Pace)
    under_way: int = 0


class ApiBroker:
    """Takes the requests of all pods."""

    def __init__(self, cache: Cache, calls: Calls, rooms: RoomClient, pods: PodClient) -> None:
        self._cache = cache
        self._calls = calls
        self._rooms = rooms
        self._pods = pods
        self._gate = asyncio.Semaphore(MOST_OF_ALL)
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, uid: str, pod: AgentPod) -> Callable[[ApiRequest], None]:
        """Returns what takes the requests of a pod that was claimed for the call of this VoiceSession."""
        asker = _Asker(uid, pod)
        return lambda request: self._take(asker, request)

    async def close(self) -> None:
        """Answers no more, and waits until that is so."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, asker: _Asker, request: ApiRequest) -> None:
        if asker.under_way >= MOST_OF_A_POD:
            AGENT_REQUESTS.labels("dropped").inc()
            return
        asker.under_way += 1
        task = asyncio.create_task(self._answer(asker, request), name=f"api-request-{asker.pod.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, asker: _Asker, request: ApiRequest) -> None:
        session = self._cache.find_session(asker.uid)
        about = {**(session.log_fields if session else {}), "pod": asker.pod.name, "method": request.method}
        try:
            async with asyncio.timeout(SECONDS_MAX):
                await asyncio.sleep(asker.pace.count(clock.steady()))
                answer = build_answer(request.number, await self._decide_and_ask(asker.uid, request))
                AGENT_REQUESTS.labels("refused" if answer.refusal else "done").inc()
                outcome = answer.refusal.code if answer.refusal else "ok"
                log.info("an agent's code asked LiveKit", extra={**about, "outcome": outcome})
                await self._send(asker.pod, answer)
        except (TimeoutError, PodRequestError) as error:
            log.warning("an agent's code did not get LiveKit's answer", extra={**about, "error": error})
        except Exception:
            log.exception("an agent's code could not be answered", extra=about)
        finally:
            asker.under_way -= 1

    async def _decide_and_ask(self, uid: str, request: ApiRequest) -> bytes | ApiRefusal:
        if refusal := refuse_method(request.method):
            return refusal
        try:
            asked = read_request(request.method, request.body)
        except RoomRequestError as error:
            return ApiRefusal(code="malformed", status=400, message=str(error))
        async with self._gate:
            # After all waiting: the call may be over by now.
            return self._refuse(uid, asked.method, asked.rooms) or await self._rooms.pass_on(asked)

    def _refuse(self, uid: str, method: str, rooms: list[str]) -> ApiRefusal | None:
        session = self._cache.find_session(uid)
        own = find_own_room(session, self._calls.get(uid))
        profile = self._cache.profiles.by_name.get(session.spec.profile) if session else None
        name = session.spec.profile if session else ""
        return decide_request(method, rooms, own, name, profile.spec.permissions if profile else ())

    async def _send(self, pod: AgentPod, answer: ApiAnswer) -> None:
        for left in reversed(range(ANSWER_TRIES)):
            try:
                await self._pods.answer_api_request(pod, answer)
            except PodRequestError:
                if not left:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


def build_answer(number: int, outcome: bytes | ApiRefusal) -> ApiAnswer:
    """Returns what a pod is told of its request of this number. Pure."""
    if isinstance(outcome, ApiRefusal):
        return ApiAnswer(number=number, refusal=outcome)
    return ApiAnswer(number=number, body=outcome)


def find_own_room(session: VoiceSession | None, memory: CallMemory | None) -> str | None:
    """Returns the room of a call in progress; None where there is none, or the room is not its own any more. Pure."""
    if session is None or memory is None or is_finished(session) or memory.room_closed:
        return None
    return memory.room or None
