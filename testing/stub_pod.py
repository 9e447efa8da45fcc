"""Agent pods that are a few lines of HTTP: they keep the contract, and break it where a test says so."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from aiohttp import web
from livekit import rtc

from testing.tasks import Tasks
from voicesession import clock
from voicesession.assignment import (
    Accepted,
    Assignment,
    CallEnded,
    EndRequest,
    HandedOver,
    Heartbeat,
    Joined,
    PodEvent,
    Preparation,
    Ready,
    RoomDeletionRequested,
    TerminationMessage,
)
from voicesession.models import EndReason
from voicesession.names import AGENT_PORT
from voicesession.pod_seal import PodSealError, unseal
from voicesession.pod_tokens import PodTokenError, Purpose, verify_pod_request
from voicesession.spool import Spool

HEARTBEAT_SECONDS = 1.0
HOLD_SECONDS = 9.0


@dataclass
class Script:
    """How a stub behaves; shared by several, and changed while they run.

    ready: answers /readyz. join_seconds: until it tells `joined`. really_joins: connects to LiveKit.
    refuse_with: status of every assignment. refuse_once_with: status of the next one.
    hang_on_assignment: takes it and never answers.
    lose_answer: takes the call, then breaks the first connection without a word.
    die_on_assignment: its port closes at the first byte of a call. silent: no heartbeats, and no answers.
    """

    ready: bool = True
    join_seconds: float = 0.0
    really_joins: bool = False
    refuse_with: int | None = None
    refuse_once_with: int | None = None
    hang_on_assignment: bool = False
    lose_answer: bool = False
    die_on_assignment: bool = False
    silent: bool = False


@dataclass
class Exit:
    """How a stub's process ended."""

    code: int
    reason: str = "Completed"
    message: str = ""


@dataclass
class StubPod:
    """One agent pod's process, listening on an address of its own."""

    ip: str
    uid: str
    name: str
    public_key: str
    script: Script
    seal_key: str = ""
    on_exit: Callable[[Exit], Awaitable[None]] | None = None
    assignment: Assignment | None = None
    assignments: int = 0  # accepted ones; a second one with the same key is not counted
    streams: int = 0  # of events that were begun: how often somebody followed its call
    posts: int = 0  # of assignments, whatever became of them
    prepared: list[Preparation] = field(default_factory=list)
    end_requests: list[EndRequest] = field(default_factory=list)
    refused_tokens: int = 0
    exited: Exit | None = None
    spool: Spool | None = None
    spool_kept: asyncio.Event = field(default_factory=asyncio.Event)
    room: rtc.Room | None = None
    _events: list[PodEvent] = field(default_factory=list)
    _taken_over: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _runner: web.AppRunner | None = None
    _hole: list[socket.socket] = field(default_factory=list)
    _tasks: Tasks = field(default_factory=Tasks)

    async def start(self) -> None:
        """Listens."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.post("/prepare", self._prepare),
                web.post("/assignment", self._assign),
                web.get("/events", self._tell),
                web.post("/end", self._end),
                web.post("/hand-over", self._hand_over),
                web.post("/take-over", self._take_over),
                web.get("/spool", self._spool),
                web.delete("/spool", self._let_go_of_spool),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.ip, AGENT_PORT, reuse_address=True).start()

    async def stop(self) -> None:
        """Ends the process without a word to anybody."""
        while self._hole:
            self._hole.pop().close()
        await self._tasks.cancel()
        if self.room:
            await self.room.disconnect()
            self.room = None
        if self._runner:
            runner, self._runner = self._runner, None
            for server in runner.sites:
                await server.stop()
            if runner.server:
                for connection in list(runner.server.connections):
                    connection.force_close()
            await runner.cleanup()

    # What a test makes it do

    async def finish(self, reason: EndReason, message: str = "", spool: Spool | None = None) -> None:
        """Ends its call in good order. `spool`: what it could not write; it goes when somebody has taken that."""
        self.spool = spool
        await self.say(CallEnded(at=clock.now(), reason=reason, message=message, end_written=spool is None))
        if spool:
            await self.spool_kept.wait()
        left = TerminationMessage(reason=reason.value, message=message, end_written=spool is None)
        await self.exit(Exit(0, "Completed", left.model_dump_json(by_alias=True)))

    async def crash(self, exit: Exit | None = None) -> None:  # noqa: A002 - what it is
        """Ends as a killed process does."""
        await self.exit(exit or Exit(137, "Error", ""))

    async def vanish(self) -> None:
        """Goes with its node: its connections stay open and say nothing, and new ones are not even refused."""
        self.script = replace(self.script, silent=True)
        if self._runner:
            for site in list(self._runner.sites):
                await site.stop()
        # A queue of connections that is full: the kernel takes no more, and answers nothing.
        hole = socket.socket()
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hole.bind((self.ip, AGENT_PORT))
        hole.listen(0)
        self._hole.append(hole)
        for _ in range(2):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self.ip, AGENT_PORT))
            self._hole.append(filler)

    async def exit(self, exit: Exit) -> None:  # noqa: A002 - what it is
        """Ends the process; the kubelet is told."""
        if self.exited:
            return
        self.exited = exit
        await self.stop()
        if self.on_exit:
            await self.on_exit(exit)

    async def terminate(self) -> None:
        """SIGTERM: it exits at once without a call, else ends that; rows that it holds it keeps for a while."""
        if self.assignment is None:
            await self.exit(Exit(0))
        elif not self.exited and self.spool is None:
            await self.finish(EndReason.SHUTDOWN)
        elif not self.exited:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HOLD_SECONDS):
                    await self.spool_kept.wait()

    async def ask_for_room_deletion(self) -> None:
        """As the agent's code does."""
        await self.say(RoomDeletionRequested(at=clock.now()))

    async def say(self, event: PodEvent) -> None:
        """Adds an event to the stream."""
        async with self._news:
            self._events.append(event)
            self._news.notify_all()
        await asyncio.sleep(0.02)  # noqa: TID251 - for the stream to carry it before whatever comes next

    # Routes

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _readyz(self, _request: web.Request) -> web.Response:
        return web.Response(status=200 if self.script.ready else 503)

    async def _prepare(self, request: web.Request) -> web.Response:
        body = await self._authorized(request, Purpose.PREPARE)
        self.prepared.append(Preparation.model_validate_json(body))
        return web.Response(status=202)

    async def _assign(self, request: web.Request) -> web.StreamResponse:
        if self.script.die_on_assignment:
            self._tasks.start(self.crash())
            await _never()
        self.posts += 1
        body = await self._authorized(request, Purpose.ASSIGNMENT)
        if self.script.refuse_with:
            return _problem(self.script.refuse_with, "the script says so")
        if status := self.script.refuse_once_with:
            self.script.refuse_once_with = None
            return _problem(status, "the script says so, once")
        assignment = Assignment.model_validate_json(body)
        if self.assignment and self.assignment.key() != assignment.key():
            return _problem(409, "another assignment")
        if self.assignment is None:
            self._accept(assignment)
        if self.script.hang_on_assignment:
            await _never()
        if self.script.lose_answer:
            self.script.lose_answer = False
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return await self._stream(request)

    async def _tell(self, request: web.Request) -> web.StreamResponse:
        await self._authorized(request, Purpose.EVENTS)
        if self.assignment is None:
            return _problem(404, "unassigned")
        return await self._stream(request)

    async def _end(self, request: web.Request) -> web.Response:
        body = await self._authorized(request, Purpose.END)
        if self.script.silent:
            await _never()
        wanted = EndRequest.model_validate_json(body)
        self.end_requests.append(wanted)
        if not any(isinstance(event, CallEnded) for event in self._events):
            self._tasks.start(self.finish(wanted.reason, wanted.message))
        return web.Response(status=202)

    async def _hand_over(self, request: web.Request) -> web.Response:
        await self._authorized(request, Purpose.HAND_OVER)
        self._tasks.start(self.say(HandedOver(at=clock.now(), quiet=True)))
        return web.Response(status=202)

    async def _take_over(self, request: web.Request) -> web.Response:
        await self._authorized(request, Purpose.TAKE_OVER)
        self._taken_over.set()
        return web.Response(status=202)

    async def _spool(self, request: web.Request) -> web.Response:
        await self._authorized(request, Purpose.SPOOL)
        if self.spool is None:
            return _problem(404, "nothing is unwritten")
        return web.Response(text=self.spool.model_dump_json(by_alias=True), content_type="application/json")

    async def _let_go_of_spool(self, request: web.Request) -> web.Response:
        await self._authorized(request, Purpose.SPOOL_KEPT)
        self.spool_kept.set()
        return web.Response(status=202)

    async def _authorized(self, request: web.Request, purpose: Purpose) -> bytes:
        body = await request.read()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            verify_pod_request(self.public_key, token, self.uid, purpose, body)
            if body and self.seal_key:
                body = unseal(self.seal_key, self.uid, purpose, body)
        except (PodTokenError, PodSealError) as error:
            self.refused_tokens += 1
            raise web.HTTPUnauthorized(text=str(error)) from error
        return body

    def _accept(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.assignments += 1
        self._events.append(Accepted(at=clock.now()))
        self._tasks.start(self._join(assignment))
        self._tasks.start(self._beat())

    async def _join(self, assignment: Assignment) -> None:
        if assignment.standby:
            await self.say(Ready(at=clock.now()))
            await self._taken_over.wait()
        if self.script.really_joins:
            self.room = rtc.Room()
            await self.room.connect(assignment.livekit_url, assignment.room_token)
        await asyncio.sleep(self.script.join_seconds)  # noqa: TID251 - as told
        await self.say(Joined(at=clock.now(), connect_millis=7, joined_millis=9, room_sid=assignment.room_sid))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)  # noqa: TID251 - its beat
            if not self.script.silent:
                await self.say(Heartbeat(at=clock.now()))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.script.silent:
            await _never()
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        self.streams += 1
        sent = 0
        with contextlib.suppress(ConnectionResetError):
            while True:
                async with self._news:
                    await self._news.wait_for(lambda: len(self._events) > sent)  # noqa: B023 - awaited here
                    new = self._events[sent:]
                for event in new:
                    await response.write(event.model_dump_json(by_alias=True).encode() + b"\n")
                    if isinstance(event, CallEnded):
                        return response
                sent += len(new)
        return response


async def _never() -> None:
    """Answers never: whoever asked gives up."""
    await asyncio.Event().wait()


def _problem(status: int, detail: str) -> web.Response:
    body = json.dumps({"title": "refused", "detail": detail})
    return web.Response(status=status, text=body, content_type="application/problem+json")
