"""The front door: LiveKit's standard token endpoint, the older connection details, and what can be asked for."""

import logging
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Request
from fastapi.openapi.models import Example

from kube.client import ConflictError, KubernetesError, KubernetesUnavailableError, NotFoundError
from rooms.client import LiveKitUnavailableError
from token_service.call_names import CallNames, choose_names
from token_service.callers import Caller
from token_service.problems import HttpProblem, refusals, unavailable
from token_service.schemas import ConnectionDetails, Profiles, TokenRequest, TokenResponse
from token_service.service import Service, no_place
from token_service.wanted_call import WantedCall, decide_call, list_choices
from voice_telemetry.logs import add_to_log_context
from voice_telemetry.traces import CallTrace, accept_traceparent, tell_span
from voicesession import clock
from voicesession.admission import RoomStart, build_voice_session, is_finished, refuse_concurrency
from voicesession.models import VoiceSession
from voicesession.names import short_hash
from voicesession.tickets import CallTicket, TicketError

log = logging.getLogger(__name__)

# The token travels in a URL, and proxies commonly end URLs at 8 KiB.
_TOKEN_CHARACTERS = 7000

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Repeating a request with the same key gives the same room and identity. Where no API key is asked "
        "for, it must be hard to guess: a random UUID (version 4), or 128 random bits as 22 characters of base64url."
    ),
]
Traceparent = Annotated[
    str | None,
    Header(
        description="W3C Trace Context, where this installation traces calls: the call joins the trace of whoever "
        "shows a key or token, and is linked to anybody else's. One that is malformed is as none."
    ),
]
_EXAMPLES: dict[str, Example] = {
    "nothing": {"summary": "The default agent", "value": {}},
    "standard": {
        "summary": "As LiveKit's clients send it",
        "value": {
            "participant_name": "Ada",
            "room_config": {"agents": [{"agent_name": "restaurant", "metadata": '{"customer_name": "Ada"}'}]},
        },
    },
    "ours": {
        "summary": "By our own fields",
        "value": {"profile": "restaurant", "is_local_mode": True, "variables": {"customer_name": "Ada"}},
    },
}
RequestBody = Annotated[TokenRequest | None, Body(openapi_examples=_EXAMPLES)]


_ASKING = refusals(400, 401, 403, 408, 413, 415, 422, 429, 503)


def build_token_router(service: Service) -> APIRouter:
    """Returns the routes by which calls are asked for."""
    router = APIRouter(prefix="/api", tags=["Calls"])

    async def authenticate(request: Request) -> Caller:
        return await service.authenticate(request)

    # As a dependency, so that a stranger is turned away before the fields are looked at.
    KnownCaller = Annotated[Caller, Depends(authenticate)]  # noqa: N806 - a type

    @router.post("/token", status_code=201, responses=_ASKING, summary="LiveKit's standard token endpoint")
    async def issue_token(
        caller: KnownCaller,
        idempotency_key: IdempotencyKey = None,
        traceparent: Traceparent = None,
        body: RequestBody = None,
    ) -> TokenResponse:
        """Signs a token for a room of its own; nothing else happens until somebody connects with it.

        Every LiveKit client speaks this: `TokenSource.endpoint("https://…/api/token")`.
        """
        began = clock.now()
        service.require_cache()
        wanted, names = _decide(service, caller, idempotency_key, body, private=False)
        above = _find_above(caller, traceparent)
        ticket = wanted.build_ticket(names, caller, private=False, voice_session=None, traceparent=above)
        _check_places(service, ticket, wanted.customer.room)
        token = _sign(service, wanted, ticket)
        _tell_request("POST /api/token", began, ticket, traceparent)
        return TokenResponse(server_url=service.settings.livekit_public_url, participant_token=token)

    @router.post(
        "/connection-details",
        status_code=201,
        responses=refusals(409) | _ASKING,
        summary="A room and its agent, at once",
    )
    async def open_call(
        caller: KnownCaller,
        idempotency_key: IdempotencyKey = None,
        traceparent: Traceparent = None,
        body: RequestBody = None,
    ) -> ConnectionDetails:
        """Creates the room and calls its agent at once; for backends, at the click. Variables stay private."""
        began = clock.now()
        service.require_cache()
        wanted, names = _decide(service, caller, idempotency_key, body, private=True)
        above, reserved = _find_above(caller, traceparent), f"vs-{short_hash(names.call_id)}"
        ticket = wanted.build_ticket(names, caller, private=True, voice_session=reserved, traceparent=above)
        token = _sign(service, wanted, ticket)
        known = idempotency_key is not None and await _is_open(service, ticket)
        if not known:
            _check_places(service, ticket, wanted.customer.room)
            await _open(service, wanted, ticket)
        _tell_request("POST /api/connection-details", began, ticket, traceparent)
        return ConnectionDetails(
            serverUrl=service.settings.livekit_public_url,
            roomName=wanted.customer.room,
            participantName=wanted.customer.name or wanted.customer.identity,
            participantToken=token,
        )

    @router.get(
        "/profiles",
        responses=refusals(401, 429, 503),
        summary="What can be asked for",
    )
    async def list_profiles(caller: KnownCaller) -> Profiles:
        """Lists the public profiles whose calls of yours would be served, with what can be chosen of each."""
        service.require_cache()
        return Profiles(profiles=list_choices(service.cache.profiles.by_name, service.cache.pools.by_name, caller))

    return router


def _decide(
    service: Service, caller: Caller, key: str | None, body: TokenRequest | None, private: bool
) -> tuple[WantedCall, CallNames]:
    names = choose_names(caller, key, service.settings.livekit_api_secret.get_secret_value())
    wanted = decide_call(
        body or TokenRequest(),
        caller,
        names,
        service.cache.profiles.by_name,
        service.cache.pools.by_name,
        allow_caller_rooms=service.settings.allow_caller_rooms,
        # Known backends choose freely; what customers' own clients may ask for is public.
        allow_hidden_profiles=private and caller.tenant is not None,
    )
    add_to_log_context(room=wanted.customer.room, profile=wanted.profile.metadata.name)
    return wanted, names


def _find_above(caller: Caller, traceparent: str | None) -> str | None:
    # Whom nobody knows does not choose in which trace the spans of this installation are.
    return accept_traceparent(traceparent) if caller.tenant is not None else None


def _tell_request(name: str, began: datetime, ticket: CallTicket, traceparent: str | None) -> None:
    trace = CallTrace(ticket.call_id, ticket.traceparent)
    tell_span(trace, name, began, clock.now(), link=None if ticket.traceparent else traceparent)


def _check_places(service: Service, ticket: CallTicket, room: str) -> None:
    refusal = refuse_concurrency(ticket, room, service.grounds)
    if refusal is not None:
        raise no_place(refusal)


def _sign(service: Service, wanted: WantedCall, ticket: CallTicket) -> str:
    limits = wanted.profile.spec.limits
    lifetime = service.settings.token_lifetime_seconds
    metadata = service.tickets.sign(ticket, wanted.customer.room)
    token = service.tokens.sign_customer(wanted.customer, metadata, limits, lifetime)
    if len(token) > _TOKEN_CHARACTERS:
        detail = (
            "The token would be too long for a URL. Send less metadata, attributes or variables; "
            "by /api/connection-details variables do not enter the token."
        )
        raise HttpProblem(422, "token-too-long", "Too much for a token", detail)
    return token


async def _is_open(service: Service, ticket: CallTicket) -> bool:
    try:
        raw = await service.cluster.get_session(ticket.voice_session or "")
    except NotFoundError:
        return False
    except (KubernetesError, KubernetesUnavailableError) as error:
        raise _kubernetes_away(error) from error
    if is_finished(VoiceSession.model_validate(raw)):
        raise _used_up()
    return True


async def _open(service: Service, wanted: WantedCall, ticket: CallTicket) -> None:
    try:
        name = wanted.customer.room
        metadata = service.tickets.sign(ticket, name)
        limits = wanted.profile.spec.limits
        room = await service.rooms.create(name, metadata, limits, wanted.customer.max_participants)
    except LiveKitUnavailableError as error:
        log.warning("no room created", extra={"error": error})
        raise unavailable("LiveKit") from error
    _check_new(service, room, ticket)
    body = build_voice_session(ticket.voice_session or "", room.name, room.sid, ticket, wanted.variables)
    try:
        service.keep_created(await service.cluster.create_session(body))
    except ConflictError:
        await _check_same_call(service, body["metadata"]["name"], room)
    except (KubernetesError, KubernetesUnavailableError) as error:
        log.warning("VoiceSession looked for: its creation had no good answer", extra={"error": error})
        await _check_same_call(service, body["metadata"]["name"], room)


async def _check_same_call(service: Service, name: str, room: RoomStart) -> None:
    """Makes sure that the room has its VoiceSession, whichever request made it, and whatever became of its answer.

    Where that cannot be told the room is left alone: it may be another request's with the same key, or a call's whose
    creation took effect. Without a VoiceSession it is empty, and the operator's poll closes it.

    Raises:
        HttpProblem: 503, there is none, or nobody knows; 409, it was for another start of the room.
    """
    try:
        raw = await service.cluster.get_session(name)
    except (KubernetesError, KubernetesUnavailableError) as error:
        raise _kubernetes_away(error) from error
    if raw["spec"].get("roomSid") != room.sid:
        await _delete_room(service, room.name)
        raise _used_up()


def _check_new(service: Service, room: RoomStart, ticket: CallTicket) -> None:
    try:
        ours = service.tickets.read(room.metadata, room.name).call_id == ticket.call_id
    except TicketError:
        ours = False
    if not ours:
        detail = f"There is a call in room {room.name!r} already. Join it by /api/token, or name another room."
        raise HttpProblem(409, "room-in-use", "Room in use", detail)


async def _delete_room(service: Service, room: str) -> None:
    try:
        await service.rooms.delete(room)
    except LiveKitUnavailableError as error:
        # Its ticket names a VoiceSession that does not exist, so the operator's poll will close it.
        log.warning("room without VoiceSession is left to the poll", extra={"error": error})


def _kubernetes_away(error: Exception) -> HttpProblem:
    log.warning("no VoiceSession created", extra={"error": error})
    return unavailable("Kubernetes")


def _used_up() -> HttpProblem:
    detail = "The call of this Idempotency-Key is over. Ask with a new key for a new call."
    return HttpProblem(409, "call-over", "This call is over", detail)
