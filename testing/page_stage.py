"""What the page needs around it: a real LiveKit, scripted agents, and a token service that fails when it is told to."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from livekit import api

from local_cluster.layout import REPOSITORY
from local_cluster.ports import LOOPBACK
from testing.browser import TalkPage
from testing.code_path import PYTHONPATH
from testing.livekit import KEY, SECRET, LiveKitServer
from testing.tasks import Tasks
from testing.waiting import WAIT_SECONDS, eventually
from token_service.app import build_headers
from voicesession.conditions import Reason
from voicesession.customer_words import RefusalReason, build_notice
from voicesession.models import Phase
from voicesession.names import new_participant_identity, new_room_name

BUILT_PAGE = REPOSITORY / "web" / "dist"
GREETING = "Hello, how can I help you?"


class AgentProcess:
    """One scripted agent; see `testing.page_agent` for what it can be told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Takes the started process."""
        self._process = process
        self.reports: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls) -> "AgentProcess":
        """Starts an agent that has imported everything and waits."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "testing.page_agent"),
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def tell(self, do: str, **details: Any) -> None:
        """Gives it one command; it does them one after the other."""
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps({"do": do, **details}) + "\n").encode())
        await self._process.stdin.drain()

    async def until(self, event: str, after: int = 0, **details: Any) -> dict[str, Any]:
        """Returns its first report of this kind and with these details, not counting the first `after` reports."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not (found := self._reports_of(event, after, details)):
                self._changed.clear()
                await self._changed.wait()
        return found[0]

    def count(self, event: str, **details: Any) -> int:
        """Returns how many reports of this kind and with these details there were."""
        return len(self._reports_of(event, 0, details))

    def _reports_of(self, event: str, after: int, details: dict[str, Any]) -> list[dict[str, Any]]:
        wanted = {"event": event, **details}.items()
        return [report for report in self.reports[after:] if report.items() >= wanted]

    async def kill(self) -> None:
        """Ends it as a crash would: no goodbye to anybody."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.reports.append(json.loads(line))
            self._changed.set()


AgentScript = Callable[[AgentProcess], Awaitable[None]]


async def greet(agent: AgentProcess) -> None:
    """The usual beginning: says hello and listens."""
    await agent.tell("state", value="speaking")
    await agent.tell("say", text=GREETING, seconds=1.2)
    await agent.tell("state", value="listening")


@dataclass
class Refusal:
    """An answer other than a token."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RefusedRoom:
    """A room that gets no agent, and why. Its status says so.

    told: whether its customer hears of it in the room, which then stays open; else it is deleted. The service does
        both, and the browser may see either first.
    """

    reason: Reason | RefusalReason
    message: str
    told: bool

    def notice(self) -> dict[str, Any]:
        """Returns the data message."""
        return build_notice(self.reason, self.message)

    def status(self) -> dict[str, Any]:
        """Returns what the token service answers of this room."""
        told = self.notice()
        del told["type"]
        return {"phase": Phase.FAILED, **told}


class Stage:
    """A stand-in for the token service, with agents that come to the rooms it hands out."""

    def __init__(self, livekit: LiveKitServer) -> None:
        """Nothing is started yet; see `opened_stage`."""
        self._livekit = livekit
        # What browsers are told; another one than the agents' to see a LiveKit that cannot be reached.
        self.public_url = livekit.url
        self.base_url = ""
        self.token_requests: list[dict[str, Any]] = []
        self.rooms: list[str] = []
        self.ended_rooms: list[str] = []
        self.agents: list[AgentProcess] = []
        self.profiles: list[dict[str, Any]] = [
            {"name": "default", "displayName": "the assistant", "providers": ["local"], "localMode": False}
        ]
        # What the next answers are.
        self.refusal: Refusal | None = None
        self.refused_room: RefusedRoom | None = None
        self.script: AgentScript | None = greet
        self.status: dict[str, Any] = {"phase": "Ended", "endReason": "participant_left"}
        self.transcript: list[dict[str, Any]] = []
        self._customers: list[str] = []
        self._site: web.TCPSite | None = None
        self._port = 0
        self._spare: AgentProcess | None = None
        self._agent_sent = asyncio.Condition()
        self._calls = Tasks()

    async def until_agent(self, count: int = 1) -> AgentProcess:
        """Waits until `count` agents have come and the last of them is in its room."""
        async with asyncio.timeout(WAIT_SECONDS), self._agent_sent:
            await self._agent_sent.wait_for(lambda: len(self.agents) >= count)
        await self.agents[count - 1].until("joined")
        return self.agents[count - 1]

    async def until_talking(self, page: TalkPage, call: int = 1) -> AgentProcess:
        """Waits until the agent of the page's nth call has greeted and listens."""
        agent = await self.until_agent(call)
        await page.until_line("agent", GREETING)
        await page.until_look("listening", "hearing")
        return agent

    async def send_agent(self, room: str, script: AgentScript = greet) -> AgentProcess:
        """Sends an agent into a room; returns when it is there and has said its first words."""
        agent = self._spare or await AgentProcess.start()
        self._spare = None
        await agent.tell("join", url=self._livekit.url, token=self._livekit.agent_token(room))
        async with self._agent_sent:
            self.agents.append(agent)
            self._agent_sent.notify_all()
        await agent.until("joined")
        await script(agent)
        return agent

    async def keep_spare(self) -> None:
        """Has an agent start already, so that the next one comes sooner."""
        if self._spare is None:
            self._spare = await AgentProcess.start()

    async def keep_spare_ready(self) -> None:
        """Has an agent wait, so that the next one comes at once."""
        await self.keep_spare()
        assert self._spare is not None
        await self._spare.until("ready")

    async def delete_room(self, room: str) -> None:
        """Closes a room, as the operator does when its call is over."""
        async with self._livekit.client() as livekit:
            await livekit.room.delete_room(api.DeleteRoomRequest(room=room))

    async def until_customer(self) -> tuple[str, str]:
        """Waits until the customer of the newest room is in it; returns the room and who they are."""
        await eventually(lambda: self.rooms)
        room, customer = self.rooms[-1], self._customers[-1]
        async with self._livekit.client() as livekit:
            await self._until_in(livekit, room, customer)
        return room, customer

    async def open(self) -> None:
        """Starts serving on localhost, and an agent."""
        self._runner = web.AppRunner(self._app())
        await self._runner.setup()
        await self.listen()
        await self.keep_spare()

    async def listen(self) -> None:
        """Can be reached, at the address it had before."""
        self._site = web.TCPSite(self._runner, LOOPBACK, self._port)
        await self._site.start()
        self._port = int(self._runner.addresses[0][1])
        self.base_url = f"http://localhost:{self._port}"

    async def stop_listening(self) -> None:
        """Cannot be reached any more."""
        assert self._site is not None
        await self._site.stop()

    async def close(self) -> None:
        """Ends every agent and the service."""
        await self._calls.cancel()
        for agent in [*self.agents, *([self._spare] if self._spare else [])]:
            await agent.kill()
        await self._runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._add_headers])
        app.router.add_get("/api/profiles", self._answer_profiles)
        app.router.add_post("/api/token", self._answer_token)
        app.router.add_get("/api/sessions/{room}", self._answer_status)
        app.router.add_delete("/api/sessions/{room}", self._end_call)
        app.router.add_get("/api/sessions/{room}/transcript", self._answer_transcript)
        app.router.add_get("/", _answer_page)
        app.router.add_static("/", BUILT_PAGE)
        return app

    @web.middleware
    async def _add_headers(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        # The page has to live with what the real service allows it.
        answer.headers.update(build_headers(self.public_url))
        # A connection that is kept would still be served after `stop_listening`.
        answer.force_close()
        return answer

    async def _answer_profiles(self, _request: web.Request) -> web.Response:
        return web.json_response({"profiles": self.profiles})

    async def _answer_token(self, request: web.Request) -> web.Response:
        self.token_requests.append(await request.json())
        if self.refusal is not None:
            body = {"type": "urn:problem-type:test", "status": self.refusal.status, **self.refusal.body}
            return web.json_response(body, status=self.refusal.status, content_type="application/problem+json")
        room, identity = new_room_name(), new_participant_identity()
        self.rooms.append(room)
        self._customers.append(identity)
        self._calls.start(self._serve(room, identity))
        token = self._livekit.customer_token(room, identity)
        return web.json_response({"server_url": self.public_url, "participant_token": token}, status=201)

    async def _serve(self, room: str, identity: str) -> None:
        if self.refused_room is not None:
            await self._refuse(room, self.refused_room)
        elif self.script is not None:
            await self.send_agent(room, self.script)

    async def _refuse(self, room: str, refused: RefusedRoom) -> None:
        await self.until_customer()
        if refused.told:
            await self._tell_room(room, refused.notice())
        else:
            await self.delete_room(room)

    async def _tell_room(self, room: str, notice: dict[str, Any]) -> None:
        """Sends data messages as the token service does, until the customer leaves for one of them.

        What is sent before the browser's data channel is open is lost, and nobody knows when it is.
        """
        message = api.SendDataRequest(room=room, data=json.dumps(notice).encode(), kind="RELIABLE", topic="voice-agent")

        async def is_heard() -> bool:
            async with self._livekit.client() as livekit:
                await livekit.room.send_data(message)
            return await self._livekit.is_empty(room)

        await eventually(is_heard, why=f"{notice} in {room}")

    async def _until_in(self, livekit: api.LiveKitAPI, room: str, identity: str) -> None:
        async def is_in() -> bool:
            with contextlib.suppress(api.TwirpError):  # not there yet
                found = await livekit.room.get_participant(api.RoomParticipantIdentity(room=room, identity=identity))
                return found.state == api.ParticipantInfo.State.ACTIVE
            return False

        await eventually(is_in, why=f"{identity} in {room}")

    async def _answer_status(self, request: web.Request) -> web.Response:
        self._check_bearer(request)
        return web.json_response(self.refused_room.status() if self.refused_room else self.status)

    async def _end_call(self, request: web.Request) -> web.Response:
        self._check_bearer(request)
        self.ended_rooms.append(request.match_info["room"])
        return web.Response(status=204)

    async def _answer_transcript(self, request: web.Request) -> web.Response:
        self._check_bearer(request)
        return web.json_response({"items": self.transcript})

    def _check_bearer(self, request: web.Request) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        claims = api.TokenVerifier(KEY, SECRET).verify(token)
        if claims.video is None or claims.video.room != request.match_info["room"]:
            raise web.HTTPNotFound


@contextlib.asynccontextmanager
async def opened_stage(livekit: LiveKitServer) -> AsyncIterator[Stage]:
    """Yields a stage that serves the built page on localhost, with an agent about to be ready."""
    if not (BUILT_PAGE / "index.html").exists():
        raise RuntimeError("the page is not built: run `make web`")
    stage = Stage(livekit)
    try:
        await stage.open()
        yield stage
    finally:
        await stage.close()


async def _answer_page(_request: web.Request) -> web.FileResponse:
    return web.FileResponse(BUILT_PAGE / "index.html")
