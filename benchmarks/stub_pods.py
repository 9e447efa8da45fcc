"""Answers for all simulated agent pods: one server behind every address of theirs, a process of its own.

A call is accepted and joined as in a pod, tells heartbeats and what it measures as in a pod, and ends by itself or on
request. Who accepted which call, and when, is asked for at a port of its own, and how much is measured told there:
`python -m benchmarks.stub_pods KEY-FILE PORT CALL-SECONDS NETWORK...`.
"""

import asyncio
import contextlib
import ipaddress
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import uvloop
from aiohttp import web

from benchmarks.operator_of_stubs import POD_KEY
from local_cluster.ports import LOOPBACK
from voice_agent.event_stream import EventStream
from voicesession import clock
from voicesession.assignment import Accepted, Assignment, CallEnded, EndRequest, Heartbeat, Joined
from voicesession.measures import FirstWord, Measured, ModelName, ModelUse, Turn
from voicesession.models import EndReason
from voicesession.names import AGENT_PORT
from voicesession.pod_seal import SEALED, PodSealError, unseal
from voicesession.pod_tokens import PodTokenError, Purpose, verify_pod_request

# About what a pod needs to join its room.
JOIN_SECONDS = 0.15
# In a call's life, unless told otherwise; its first word and its end are measured besides.
ANSWERS = 3


@dataclass
class Call:
    """One pod's call."""

    assignment: Assignment
    stream: EventStream = field(default_factory=lambda: EventStream(lambda: Heartbeat(at=clock.now())))
    end: asyncio.Event = field(default_factory=asyncio.Event)
    reason: EndReason = EndReason.PARTICIPANT_LEFT


class StubPods:
    """All pods, told apart by the uid that each request's token is for."""

    def __init__(self, public_key: str, call_seconds: float) -> None:
        """`public_key` is the operator's; a call ends by itself after `call_seconds`."""
        self._public_key = public_key
        self._call_seconds = call_seconds
        self._calls: dict[str, Call] = {}  # by the pod's uid
        self._followed: dict[str, float] = {}  # by VoiceSession: when its stream was opened last, by the same clock
        self._accepted: dict[str, float] = {}  # by VoiceSession: when its first pod had it, by the monotonic clock
        self._pods: Counter[str] = Counter()  # by room: how many pods accepted a call for it
        self._answers = ANSWERS
        self._second_calls = 0  # given to a pod that had another one
        self._refused_tokens = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def build_pods_app(self) -> web.Application:
        """Returns what an agent pod serves."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/readyz", _ok),
                web.post("/prepare", self._prepare),
                web.post("/assignment", self._assign),
                web.get("/events", self._tell),
                web.post("/end", self._end),
            ]
        )
        return app

    def build_results_app(self) -> web.Application:
        """Returns what the benchmark asks."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/readyz", _ok),
                web.get("/results", self._results),
                web.put("/answers/{count}", self._set_answers),
            ]
        )
        return app

    async def _set_answers(self, request: web.Request) -> web.Response:
        self._answers = int(request.match_info["count"])
        return web.Response()

    async def _results(self, _request: web.Request) -> web.Response:
        second_pods = sum(count - 1 for count in self._pods.values())
        return web.json_response(
            {
                "accepted": self._accepted,
                "followed": self._followed,
                "doubled": second_pods + self._second_calls,
                "refused_tokens": self._refused_tokens,
            }
        )

    async def _prepare(self, request: web.Request) -> web.Response:
        await self._authorize(request, Purpose.PREPARE)
        return web.Response(status=202)

    async def _assign(self, request: web.Request) -> web.StreamResponse:
        pod, body = await self._authorize(request, Purpose.ASSIGNMENT)
        assignment = Assignment.model_validate_json(body)
        call = self._calls.get(pod)
        if call is None:
            call = self._accept(pod, assignment)
        elif call.assignment.key() != assignment.key():
            self._second_calls += 1
            raise web.HTTPConflict(text="another assignment")
        return await self._stream(request, call)

    async def _tell(self, request: web.Request) -> web.StreamResponse:
        pod, _ = await self._authorize(request, Purpose.EVENTS)
        call = self._calls.get(pod)
        if call is None:
            raise web.HTTPNotFound(text="unassigned")
        return await self._stream(request, call)

    async def _end(self, request: web.Request) -> web.Response:
        pod, body = await self._authorize(request, Purpose.END)
        call = self._calls.get(pod)
        if call:
            call.reason = EndRequest.model_validate_json(body).reason
            call.end.set()
        return web.Response(status=202)

    async def _authorize(self, request: web.Request, purpose: Purpose) -> tuple[str, bytes]:
        """Returns the uid of the pod that is meant, and the body."""
        body = await request.read()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            pod = str(jwt.decode(token, options={"verify_signature": False})["aud"])
            verify_pod_request(self._public_key, token, pod, purpose, body)
            return pod, unseal(POD_KEY, pod, purpose, body) if request.content_type == SEALED else body
        except (PodTokenError, PodSealError, jwt.PyJWTError, KeyError) as error:
            self._refused_tokens += 1
            raise web.HTTPUnauthorized(text=str(error)) from error

    def _accept(self, pod: str, assignment: Assignment) -> Call:
        self._accepted.setdefault(assignment.voice_session, time.monotonic())
        self._pods[assignment.room] += 1
        call = self._calls[pod] = Call(assignment)
        call.stream.emit(Accepted(at=clock.now()))
        self._begin(self._hold(call))
        return call

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hold(self, call: Call) -> None:
        await asyncio.sleep(JOIN_SECONDS)
        millis = round(JOIN_SECONDS * 1000)
        sid = call.assignment.room_sid
        call.stream.emit(Joined(at=clock.now(), connect_millis=millis, joined_millis=millis, room_sid=sid))
        measuring = asyncio.create_task(self._measure(call))
        written = await self._talk(call)
        measuring.cancel()
        call.stream.emit(CallEnded(at=clock.now(), reason=call.reason, end_written=written))
        call.stream.close()

    async def _measure(self, call: Call) -> None:
        """Tells what an agent measures; nothing where there are to be no answers."""
        if not self._answers:
            return
        call.stream.emit(Measured(at=clock.now(), first_word=FirstWord(), connect_millis=90))
        for _ in range(self._answers):
            await asyncio.sleep(self._call_seconds / (self._answers + 1))
            call.stream.emit(build_answer())

    async def _talk(self, call: Call) -> bool:
        """Returns when the call is over: whether its conversation is written, of which there is none here."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._call_seconds):
                await call.end.wait()
        return True

    async def _stream(self, request: web.Request, call: Call) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        self._followed[call.assignment.voice_session] = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            async for line in call.stream.read():
                await response.write(line)
        return response


def build_answer() -> Measured:
    """Returns what an agent tells at each of its answers."""
    ear, chat, voice = (ModelName(provider="acme", model=model) for model in ("ear", "mind", "voice"))
    return Measured(
        at=clock.now(),
        turn=Turn(
            transcription_millis=150,
            end_of_turn_millis=450,
            llm_first_token_millis=300,
            tts_first_byte_millis=180,
            answer_millis=900,
            llm=chat,
            tts=voice,
        ),
        replies=1,
        used=[
            ModelUse(part="stt", **ear.model_dump(), speech_seconds=2.5),
            ModelUse(part="llm", **chat.model_dump(), input_tokens=900, cached_tokens=500, output_tokens=60),
            ModelUse(part="tts", **voice.model_dump(), characters=120, speech_seconds=6.0),
        ],
    )


async def _ok(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def serve(pods: StubPods, networks: Sequence[str], port: int) -> None:
    """Serves the pods at all addresses of these networks, and the results at `port`, until it is ended."""
    addresses = [str(address) for network in networks for address in ipaddress.IPv4Network(network).hosts()]
    places = [(pods.build_pods_app(), addresses, AGENT_PORT), (pods.build_results_app(), [LOOPBACK], port)]
    for app, hosts, each in places:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        for host in hosts:
            await web.TCPSite(runner, host, each, reuse_address=True).start()
    await asyncio.Event().wait()


def main(make: Callable[[str, float], StubPods]) -> None:
    """Runs what `make` makes of the operator's public key and of how long a call lasts, by the command line."""
    key_file, port, call_seconds, *networks = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(make(Path(key_file).read_text(), float(call_seconds)), networks, int(port)))


if __name__ == "__main__":
    main(StubPods)
