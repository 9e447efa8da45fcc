"""A stand-in for the service behind the page of calls, which answers as it is told to and fails when it is told to."""

import contextlib
import json
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from local_cluster.layout import REPOSITORY
from local_cluster.ports import LOOPBACK
from token_service.app import build_headers

BUILT_CALLS = REPOSITORY / "web" / "dist" / "calls"
KEY = "the-right-key"
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)

Json = dict[str, Any]


def at(seconds: float) -> str:
    """Returns the ISO time so many seconds after noon."""
    return (NOON + timedelta(seconds=seconds)).isoformat()


def build_summary(number: int, **changes: Any) -> Json:
    """Returns a call in the list, an hour after the one with the next number; a good one where nothing is changed."""
    seconds = changes.get("durationSeconds") or 95 + 17 * number
    return {
        "sessionId": f"00000000-0000-4000-8000-{number:012d}",
        "room": f"voice_assistant_room_{number:04d}-w1liMtzSom6qAe4A",
        "profile": "default",
        "tenant": "north",
        "phase": "Ended",
        "reason": "participant_left",
        "startedAt": at(-3600 * number),
        "endedAt": at(-3600 * number + seconds),
        "durationSeconds": seconds,
        "attempts": 1,
        "answers": 6,
        "medianAnswerMillis": 780 + 13 * number,
        "llmProvider": "openai",
        **changes,
    }


def build_story(items: list[Json], events: list[Json] | None = None, **changes: Any) -> Json:
    """Returns one call; what it has in common with the list is that of `build_summary`."""
    summary = build_summary(0, durationSeconds=62)
    shared = {key: summary[key] for key in ("sessionId", "room", "profile", "tenant", "phase", "reason", "attempts")}
    return {
        **shared,
        "message": None,
        "startedAt": summary["startedAt"],
        "agentJoinedAt": at(0.4),
        "endedAt": summary["endedAt"],
        "endReason": "participant_left",
        "llmProvider": "openai",
        "localMode": False,
        "usage": {},
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
        "items": items,
        "events": events or [],
        "others": [],
        **changes,
    }


def build_item(number: int, seconds: float, role: str, content: str | None, **changes: Any) -> Json:
    """Returns a row of a conversation; a message where nothing is changed."""
    return {
        "itemId": f"item_{number}",
        "at": at(seconds),
        "attempt": 1,
        "kind": "message",
        "role": role,
        "content": content,
        "interrupted": False,
        "latencies": None,
        "tool": None,
        **changes,
    }


@dataclass
class CallsStage:
    """What is answered next."""

    calls: list[Json] = field(default_factory=list)
    stories: dict[str, Json] = field(default_factory=dict)
    # The status of every answer of the API, other than 200.
    fault: int | None = None
    signed_in: bool = True
    sees_all: bool = False
    page_size: int = 50
    queries: list[dict[str, str]] = field(default_factory=list)
    story_requests: int = 0
    base_url: str = ""

    def tell(self, story: Json) -> str:
        """Has a call be found by its room; returns the page's address of it."""
        self.stories[story["room"]] = deepcopy(story)
        return f"{self.base_url}/calls/{story['room']}"

    def app(self) -> web.Application:
        """Returns the service."""
        app = web.Application(middlewares=[_add_headers])
        app.router.add_get("/api/calls", self._answer_list)
        app.router.add_get("/api/calls/{room:.+}", self._answer_story)
        app.router.add_get("/calls/sign-in", _answer_form)
        app.router.add_post("/calls/sign-in", self._sign_in)
        app.router.add_post("/calls/sign-out", self._sign_out)
        app.router.add_static("/calls/assets", BUILT_CALLS / "assets")
        app.router.add_get("/calls", self._answer_page)
        app.router.add_get("/calls/{room:.+}", self._answer_page)
        return app

    async def _answer_page(self, _request: web.Request) -> web.Response:
        if not self.signed_in:
            return _page("sign-in.html", 401)
        return _page("index.html")

    async def _sign_in(self, request: web.Request) -> web.Response:
        form = await request.post()
        wanted = str(form.get("next") or "/calls")
        if form.get("key") != KEY:
            raise web.HTTPSeeOther(f"/calls/sign-in?next={wanted}#wrong")
        self.signed_in = True
        raise web.HTTPSeeOther(wanted)

    async def _sign_out(self, _request: web.Request) -> web.Response:
        self.signed_in = False
        raise web.HTTPSeeOther("/calls/sign-in#out")

    async def _answer_list(self, request: web.Request) -> web.Response:
        self.queries.append(dict(request.query))
        self._fail()
        found = [call for call in self.calls if _is_wanted(call, request.query)]
        first = int(request.query.get("cursor", "0"))
        after = first + self.page_size
        return web.json_response(
            {
                "items": found[first:after],
                "next": str(after) if after < len(found) else None,
                "seesAll": self.sees_all,
                "tenant": "north",
                "profiles": sorted({call["profile"] for call in self.calls}),
                "reasons": sorted({call["reason"] for call in self.calls}),
            }
        )

    async def _answer_story(self, request: web.Request) -> web.Response:
        self.story_requests += 1
        self._fail()
        story = self.stories.get(request.match_info["room"])
        if story is None:
            raise _problem(404)
        return web.json_response(story)

    def _fail(self) -> None:
        if not self.signed_in:
            raise _problem(401)
        if self.fault is not None:
            raise _problem(self.fault)


@contextlib.asynccontextmanager
async def opened_calls_stage() -> AsyncIterator[CallsStage]:
    """Yields a stage that serves the built page on localhost."""
    if not (BUILT_CALLS / "index.html").exists():
        raise RuntimeError("the page is not built: run `make web`")
    stage = CallsStage()
    runner = web.AppRunner(stage.app())
    await runner.setup()
    try:
        site = web.TCPSite(runner, LOOPBACK, 0)
        await site.start()
        stage.base_url = f"http://localhost:{runner.addresses[0][1]}"
        yield stage
    finally:
        await runner.cleanup()


@web.middleware
async def _add_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    # The page has to live with what the real service allows it.
    headers = build_headers("ws://localhost:7880")
    try:
        answer = await handler(request)
    except web.HTTPException as refusal:
        refusal.headers.update(headers)
        raise
    answer.headers.update(headers)
    return answer


async def _answer_form(_request: web.Request) -> web.Response:
    return _page("sign-in.html")


def _page(name: str, status: int = 200) -> web.Response:
    return web.Response(text=(BUILT_CALLS / name).read_text(), content_type="text/html", status=status)


def _problem(status: int) -> web.HTTPException:
    body = json.dumps({"type": "urn:problem-type:test", "status": status, "detail": "The test says no."})
    kinds = {401: web.HTTPUnauthorized, 403: web.HTTPForbidden, 404: web.HTTPNotFound, 503: web.HTTPServiceUnavailable}
    return kinds[status](text=body, content_type="application/problem+json")


def _is_wanted(call: Json, query: Any) -> bool:
    named = all(query.get(key, call[key]) == call[key] for key in ("profile", "reason", "tenant", "room"))
    begun = datetime.fromisoformat(call["startedAt"])
    since, until = (datetime.fromisoformat(query[key]) if key in query else begun for key in ("from", "to"))
    return named and since <= begun <= until
