"""Around every request: its id, its log line, its metric, the body's limit, and headers that every answer has."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from token_service.metrics import REQUESTS
from token_service.problems import HttpProblem, build_problem, internal_error
from voice_telemetry.logs import fresh_log_context

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BODY_SECONDS = 10.0
# What is not of the page.
_API = ("/api/", "/livekit/")


class RequestContext:
    """Names each request and records what became of it."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        """`headers` are added to every answer that does not have them."""
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith(_API):
            scope["path"] = scope["path"].rstrip("/")  # as people write addresses into settings
        began = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        own_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"] = own_id
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = own_id
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith(_API):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        with fresh_log_context(requestId=own_id):
            try:
                await self._app(scope, receive, send_with_headers)
            finally:
                _record(scope, status, time.perf_counter() - began)


class OwnMistakes:
    """Answers what no handler expected as a problem; inside of CORS, so that pages elsewhere can read it too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answered = False

        async def note(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception:
            log.exception("request failed")
            if not answered:
                await build_problem(internal_error(), scope["path"], scope["request_id"])(scope, receive, send)


class BodyLimit:
    """Reads the body whole before anything else is done, so that a large or slow one costs little."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        """`limit` in bytes."""
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await self._read(scope, receive)
        except ClientDisconnect:
            return  # what came of the body is not what was asked for, and nobody waits for the answer
        except TimeoutError:
            detail = f"The body did not arrive within {_BODY_SECONDS:.0f} s."
            await self._refuse(HttpProblem(408, "slow-body", "Slow body", detail), scope, receive, send)
            return
        if body is None:
            detail = f"The body has more than {self._limit} bytes. Send less."
            await self._refuse(HttpProblem(413, "body-too-large", "Body too large", detail), scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdigit() or int(declared) > self._limit:
            return None
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._limit:
                return None
            if not message.get("more_body", False):
                return b"".join(chunks)

    @staticmethod
    async def _refuse(problem: HttpProblem, scope: Scope, receive: Receive, send: Send) -> None:
        # What is left of the body is not read, so the connection cannot be used again.
        problem.headers["Connection"] = "close"
        await build_problem(problem, scope["path"], scope.get("request_id", ""))(scope, receive, send)


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again


def _record(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "") or "other"
    REQUESTS.labels(scope["method"], route, str(status)).observe(seconds)
    log.info(
        "request answered",
        extra={
            "method": scope["method"],
            "route": route,
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
        },
    )
