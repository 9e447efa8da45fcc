"""LiveKit's webhook: a started room becomes its VoiceSession or is turned away, an abandoned one frees its call."""

import contextlib
import logging
from datetime import timedelta
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from kube.client import ConflictError, KubernetesError, KubernetesUnavailableError, NotFoundError
from kube.refusals import is_about_the_object
from rooms.client import LiveKitUnavailableError
from token_service.metrics import ADMISSIONS, START_SECONDS, WEBHOOKS
from token_service.problems import HttpProblem, refusals, unavailable
from token_service.service import Service
from token_service.webhooks import RoomEvent, WebhookError, read_webhook
from voice_telemetry.logs import add_to_log_context
from voice_telemetry.traces import CallTrace, tell_span
from voicesession import clock
from voicesession.admission import (
    REJECTED,
    Admission,
    Admit,
    AlreadyServed,
    NotOurs,
    Refuse,
    RoomStart,
    decide_admission,
    is_start_of,
    is_waiting,
    room_of,
)
from voicesession.departures import seconds_to_return, seems_to_have_left
from voicesession.models import EffectiveLimits, EndReason, VoiceSession
from voicesession.names import CALL_LABEL, TRACEPARENT_ANNOTATION

log = logging.getLogger(__name__)

# Webhooks come within milliseconds. An older one may be a replay, so LiveKit is asked whether it is still true.
_FRESH = timedelta(seconds=10)
_STARTED = "room_started"
_JOINED = "participant_joined"
_LEFT = "participant_left"
_FINISHED = "room_finished"


def build_webhook_router(service: Service) -> APIRouter:
    """Returns the route that LiveKit's server calls."""
    router = APIRouter(tags=["LiveKit"])

    @router.post(
        "/livekit/webhook",
        status_code=200,
        response_class=Response,
        responses=refusals(401, 408, 413, 503),
        summary="For LiveKit's server only",
    )
    async def receive_webhook(request: Request) -> Response:
        """Takes an event that LiveKit signed. After a 503 LiveKit sends it again."""
        try:
            event = read_webhook(
                service.settings.livekit_api_key,
                service.settings.livekit_api_secret.get_secret_value(),
                await request.body(),
                request.headers.get("authorization", ""),
            )
        except WebhookError as error:
            WEBHOOKS.labels("forged").inc()
            detail = "Only LiveKit's server may call this: the signature is missing, expired or another body's."
            raise HttpProblem(401, "unauthorized", "Not from LiveKit", detail) from error
        if event is None or not _concerns_us(event):
            WEBHOOKS.labels("ignored").inc()
            return Response()
        service.require_cache()
        add_to_log_context(room=event.room.name, event=event.kind)
        try:
            await _handle(service, event)
        except LiveKitUnavailableError as error:
            raise _try_again("LiveKit", error) from error
        except (KubernetesError, KubernetesUnavailableError) as error:
            raise _try_again("Kubernetes", error) from error
        return Response()

    return router


def _concerns_us(event: RoomEvent) -> bool:
    if event.kind == _LEFT and not seems_to_have_left(event.left_by):
        return False  # they may come back; if not, LiveKit closes the room
    if event.kind in {_JOINED, _LEFT}:
        return event.identity is not None
    return event.kind in {_STARTED, _FINISHED}


def _try_again(what: str, error: Exception) -> HttpProblem:
    WEBHOOKS.labels("failed").inc()
    log.warning("webhook not handled", extra={"error": error})
    return unavailable(what)


async def _handle(service: Service, event: RoomEvent) -> None:
    room, fresh = event.room, abs(clock.now() - event.created_at) <= _FRESH
    if event.kind in {_LEFT, _FINISHED}:
        WEBHOOKS.labels("fresh" if fresh else "stale").inc()
        if fresh:  # else the operator's poll has seen it
            await _note_departure(service, event)
        return
    if not fresh:
        confirmed = await service.rooms.find(room.name)
        if confirmed is None or confirmed.sid != room.sid:
            WEBHOOKS.labels("stale").inc()
            return
        WEBHOOKS.labels("confirmed").inc()
        room = confirmed
    else:
        WEBHOOKS.labels("fresh").inc()
    await _admit(service, room, customer_is_there=event.kind == _JOINED)


async def _note_departure(service: Service, event: RoomEvent) -> None:
    """Ends the calls that wait in a room which nobody comes back to, so that they get no pod."""
    for session in service.cache.sessions.by("live-room", event.room.name):
        is_theirs = event.kind == _FINISHED or session.spec.participant_identity == event.identity
        if not _waits_still(session) or not is_theirs or not is_start_of(session, event.room.sid):
            continue
        limits = _limits_of(service, session)
        grace = 0 if event.kind == _FINISHED else seconds_to_return(event.left_by, limits, by_phone=event.by_phone)
        if grace:
            name, identity = session.metadata.name, session.spec.participant_identity or ""
            service.later.start(name, grace, partial(_end_unless_back, service, name, identity))
        else:
            await _end_abandoned(service, session)


async def _end_unless_back(service: Service, name: str, identity: str) -> None:
    """Ends a call that still waits, unless its customer is in the room again."""
    session = service.cache.sessions.get(name)
    if session is None or not _waits_still(session):
        return
    try:
        if identity not in await service.rooms.people(room_of(session) or ""):
            await _end_abandoned(service, session)
    except (LiveKitUnavailableError, KubernetesError, KubernetesUnavailableError) as error:
        # LiveKit closes a room to which nobody comes back, and tells.
        log.warning("an abandoned call could not be ended yet", extra={"error": error, **session.log_fields})


async def _end_abandoned(service: Service, session: VoiceSession) -> None:
    with contextlib.suppress(NotFoundError):
        await service.end_session(session, EndReason.PARTICIPANT_LEFT)
        log.info("ended: its customer is gone, and it still waited", extra=session.log_fields)


def _waits_still(session: VoiceSession) -> bool:
    return is_waiting(session) and not session.spec.end


def _limits_of(service: Service, session: VoiceSession) -> EffectiveLimits:
    profile = service.cache.profiles.by_name.get(session.spec.profile)
    limits = profile.spec.limits if profile else EffectiveLimits()
    return limits.narrowed_by(session.spec.limits)


async def _admit(service: Service, room: RoomStart, customer_is_there: bool) -> None:
    began = clock.now()
    decision: Admission | None = decide_admission(room, began, service.grounds)
    if isinstance(decision, Refuse) and decision.may_be_unseen:
        readable = await service.look_for_calls(room.name)
        decision = decide_admission(room, clock.now(), service.grounds) if readable else NotOurs()
    if isinstance(decision, Admit):
        body = decision.voice_session_body
        decision = await _create(service, body)
        if decision is None:
            START_SECONDS.observe(max(0.0, (clock.now() - room.created_at).total_seconds()))
        metadata = body["metadata"]
        trace = CallTrace(metadata["labels"][CALL_LABEL], metadata.get("annotations", {}).get(TRACEPARENT_ANNOTATION))
        tell_span(trace, "admit the room", began, clock.now())
    match decision:
        case Refuse() if customer_is_there:
            ADMISSIONS.labels(decision.reason).inc()
            log.info("room turned away", extra={"reason": decision.reason})
            await service.rooms.turn_away(room, decision, just_arrived=True)
        case Refuse():
            # Its customer could not hear why yet. Their arrival, some 100 ms later, is the next event.
            log.info("room will be turned away", extra={"reason": decision.reason})
        case NotOurs(foreign):
            ADMISSIONS.labels("foreign" if foreign else "not-ours").inc()
        case AlreadyServed():
            ADMISSIONS.labels("repeated").inc()


async def _create(service: Service, body: dict[str, Any]) -> Refuse | AlreadyServed | None:
    try:
        service.keep_created(await service.cluster.create_session(body))
    except ConflictError:
        # Named by the room's sid: another replica, an earlier webhook or the poll made the same one.
        return AlreadyServed(body["metadata"]["name"], finished=False)
    except KubernetesError as error:
        if not is_about_the_object(error):
            raise
        log.exception("VoiceSession rejected")
        return REJECTED
    ADMISSIONS.labels("admitted").inc()
    return None
