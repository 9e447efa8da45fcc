"""LiveKit's webhook: a started room becomes its VoiceSession, or is turned away."""

import logging
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from kube.client import ConflictError, KubernetesError, KubernetesUnavailableError
from kube.refusals import is_about_the_object
from rooms.client import LiveKitUnavailableError
from token_service.metrics import ADMISSIONS, WEBHOOKS
from token_service.problems import HttpProblem, refusals, unavailable
from token_service.service import Service
from token_service.webhooks import RoomEvent, WebhookError, read_webhook
from voice_telemetry.logs import add_to_log_context
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
)

log = logging.getLogger(__name__)

# Webhooks come within milliseconds. An older one may be a replay, so LiveKit is asked whether it is still true.
_FRESH = timedelta(seconds=10)
_STARTED = "room_started"
_JOINED = "participant_joined"


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
        if event is None or not _is_about_a_customer(event):
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


def _is_about_a_customer(event: RoomEvent) -> bool:
    return event.kind == _STARTED or (event.kind == _JOINED and event.identity is not None)


def _try_again(what: str, error: Exception) -> HttpProblem:
    WEBHOOKS.labels("failed").inc()
    log.warning("webhook not handled", extra={"error": error})
    return unavailable(what)


async def _handle(service: Service, event: RoomEvent) -> None:
    room = event.room
    if abs(clock.now() - event.created_at) > _FRESH:
        confirmed = await service.rooms.find(room.name)
        if confirmed is None or confirmed.sid != room.sid:
            WEBHOOKS.labels("stale").inc()
            return
        WEBHOOKS.labels("confirmed").inc()
        room = confirmed
    else:
        WEBHOOKS.labels("fresh").inc()
    await _admit(service, room, customer_is_there=event.kind == _JOINED)


async def _admit(service: Service, room: RoomStart, customer_is_there: bool) -> None:
    decision: Admission | None = decide_admission(room, clock.now(), service.grounds)
    if isinstance(decision, Admit):
        decision = await _create(service, decision.voice_session_body)
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
