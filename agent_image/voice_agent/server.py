"""The pod's HTTP: health for the kubelet, and routes that only the operator's tokens open."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web
from pydantic import SecretStr, ValidationError

from voice_agent.event_stream import EventStream
from voice_agent.pod import AssignedElsewhereError, NotInCallError, NotWaitingError, Pod
from voice_agent.provider_models import ProviderError
from voicesession.assignment import ApiAnswer, Assignment, EndRequest, HandOverRequest, Preparation, TakeOver
from voicesession.models import Model
from voicesession.pod_seal import SEALED, PodSealError, unseal
from voicesession.pod_tokens import PodTokenError, Purpose, check_body, read_pod_token

LARGEST_BODY = 512 * 1024
BODY_SECONDS = 10.0

log = logging.getLogger(__name__)
_Body = TypeVar("_Body", bound=Model)


class Refusal(Exception):  # noqa: N818 - it is an answer
    """What a request is answered with instead of what it asked for."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        """`detail` says what to do; it names no secret."""
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail


class PodServer:
    """The routes, for one pod."""

    def __init__(self, pod: Pod, public_key: str, pod_uid: str, seal_key: SecretStr) -> None:
        """`public_key`: PEM of the operator's key; `pod_uid`: the audience that its tokens must have.

        `seal_key`: what sealed bodies are opened by; those of an operator of the release before are not sealed.
        """
        self._pod = pod
        self._public_key = public_key
        self._pod_uid = pod_uid
        self._seal_key = seal_key

    def build_app(self) -> web.Application:
        """Returns the application."""
        app = web.Application(middlewares=[_answer_refusals], client_max_size=LARGEST_BODY)
        app.router.add_get("/healthz", self._healthz)
        # During a call too: that a pod has one is said by its label, and to the kubelet not ready is unhealthy.
        app.router.add_get("/readyz", self._healthz)
        app.router.add_post("/prepare", self._prepare)
        app.router.add_post("/assignment", self._assign)
        app.router.add_get("/events", self._events)
        app.router.add_post("/end", self._end)
        app.router.add_post("/hand-over", self._hand_over)
        app.router.add_post("/take-over", self._take_over)
        app.router.add_post("/api-answer", self._take_api_answer)
        app.router.add_get("/spool", self._spool)
        app.router.add_delete("/spool", self._let_go_of_spool)
        return app

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _prepare(self, request: web.Request) -> web.Response:
        preparation = _parse(Preparation, await self._authorized_body(request, Purpose.PREPARE))
        try:
            self._pod.prepare(preparation)
        except NotWaitingError as error:
            raise Refusal(503, "Not waiting", str(error)) from error
        return web.Response(status=202)

    async def _assign(self, request: web.Request) -> web.StreamResponse:
        assignment = _parse(Assignment, await self._authorized_body(request, Purpose.ASSIGNMENT))
        try:
            events = self._pod.assign(assignment)
        except AssignedElsewhereError as error:
            raise Refusal(409, "Assigned elsewhere", str(error)) from error
        except NotWaitingError as error:
            raise Refusal(503, "Not waiting", str(error)) from error
        except ProviderError as error:
            raise Refusal(400, "Unknown provider", str(error)) from error
        return await _send_events(request, events)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        await self._authorized_body(request, Purpose.EVENTS)
        if self._pod.events is None:
            raise Refusal(404, "No call", "this pod has no call yet")
        return await _send_events(request, self._pod.events)

    async def _end(self, request: web.Request) -> web.Response:
        self._pod.end(_parse(EndRequest, await self._authorized_body(request, Purpose.END)))
        return web.Response(status=202)

    async def _hand_over(self, request: web.Request) -> web.Response:
        wanted = _parse(HandOverRequest, await self._authorized_body(request, Purpose.HAND_OVER))
        self._pod.hand_over(wanted)
        return web.Response(status=202)

    async def _take_over(self, request: web.Request) -> web.Response:
        wanted = _parse(TakeOver, await self._authorized_body(request, Purpose.TAKE_OVER))
        self._pod.take_over(wanted)
        return web.Response(status=202)

    async def _take_api_answer(self, request: web.Request) -> web.Response:
        answer = _parse(ApiAnswer, await self._authorized_body(request, Purpose.API_ANSWER))
        self._pod.take_api_answer(answer)
        return web.Response(status=202)

    async def _spool(self, request: web.Request) -> web.Response:
        await self._authorized_body(request, Purpose.SPOOL)
        if self._pod.holds_call:
            raise Refusal(409, "Not ended", "this pod's call has not ended")
        spool = self._pod.spool
        if spool is None:
            raise Refusal(404, "No spool", "there is nothing of an ended call that the database has not got")
        return web.Response(text=spool.model_dump_json(by_alias=True), content_type="application/json")

    async def _let_go_of_spool(self, request: web.Request) -> web.Response:
        await self._authorized_body(request, Purpose.SPOOL_KEPT)
        try:
            self._pod.let_go_of_spool()
        except NotWaitingError as error:
            raise Refusal(409, "Not ended", str(error)) from error
        return web.Response(status=202)

    async def _authorized_body(self, request: web.Request, purpose: Purpose) -> bytes:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(401, "Unauthorized", "an `Authorization: Bearer` token of the operator's is needed")
        try:
            # First: of a stranger no body is taken.
            digest = read_pod_token(self._public_key, token.strip(), self._pod_uid, purpose)
            body = await _read_body(request)
            check_body(digest, body)
            if request.content_type == SEALED:
                body = unseal(self._seal_key.get_secret_value(), self._pod_uid, purpose, body)
        except (PodTokenError, PodSealError) as error:
            raise Refusal(401, "Unauthorized", str(error)) from error
        return body


@web.middleware
async def _answer_refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except NotInCallError as error:
        refusal = Refusal(409, "Not in its call", str(error))
    except Refusal as error:
        refusal = error
    fields = {"method": request.method, "path": request.path, "status": refusal.status, "detail": refusal.detail}
    log.warning("request refused", extra=fields)
    problem = {"type": "about:blank", "title": refusal.title, "status": refusal.status, "detail": refusal.detail}
    return web.json_response(problem, status=refusal.status, content_type="application/problem+json")


async def _read_body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise Refusal(413, "Too large", f"a body has at most {LARGEST_BODY} bytes") from error
    except TimeoutError as error:
        raise Refusal(408, "Slow body", f"the body did not arrive within {BODY_SECONDS:.0f} s") from error


def _parse(model: type[_Body], body: bytes) -> _Body:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise Refusal(400, "Bad request", wrong) from None


async def _send_events(request: web.Request, events: EventStream) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
    await response.prepare(request)
    # Should the reader go, the call goes on: whoever comes next gets the stream from its beginning.
    with contextlib.suppress(ConnectionResetError):
        async with contextlib.aclosing(events.read()) as lines:
            async for line in lines:
                await response.write(line)
    return response
