"""A call seen by those it belongs to: its participant, by the token that was signed for it, or its tenant, by key."""

import logging
from datetime import timedelta

from fastapi import APIRouter, Request, Response

from conversations.pool import ConversationsUnavailableError
from conversations.reader import TranscriptItem as ConversationItem
from kube.client import KubernetesError, KubernetesUnavailableError, NotFoundError
from rooms.tokens import Pass
from token_service.callers import read_bearer
from token_service.problems import HttpProblem, refusals, unavailable
from token_service.schemas import CallState, Transcript, TranscriptItem
from token_service.service import Service
from voice_telemetry.logs import add_to_log_context
from voicesession import clock
from voicesession.admission import Refuse, RoomStart, decide_admission, is_finished
from voicesession.customer_words import retry_after, words_for_customer
from voicesession.models import AgentProfileSpec, EndReason, Phase, VoiceSession

log = logging.getLogger(__name__)

# What an agent's code has noted beside the conversation: for the database, not for the customer.
_SAID_BY_NOBODY = {"system", "developer"}

# After the longest call that its profile allows, a customer can still read what was said for this long.
_READING_TIME = timedelta(hours=1)


def build_session_router(service: Service) -> APIRouter:
    """Returns the routes under `/api/sessions/{room}`."""
    router = APIRouter(prefix="/api/sessions/{room}", tags=["A call"], responses=refusals(401, 404, 422, 429, 503))

    @router.get("", response_model_exclude_none=True, summary="Where a call stands")
    async def read_state(room: str, request: Request) -> CallState:
        """Tells the call's phase. A room that was refused at its start is `Failed`, with the reason."""
        owner = await _know_owner(service, request, room)
        session = await owner.find_session()
        if session is not None:
            return build_state(session, for_tenant=owner.customer is None)
        refused = owner.find_refusal()
        if refused is None:
            raise _not_there()
        return refused

    @router.delete("", status_code=204, summary="End a call")
    async def end_call(room: str, request: Request) -> Response:
        """Ends the call, then the room is closed. Ending it twice changes nothing.

        By the customer's own token it is hung up; by a tenant's key the agent says goodbye first.
        """
        owner = await _know_owner(service, request, room)
        session = await owner.require_session()
        if not is_finished(session) and not session.spec.end:
            reason = EndReason.PARTICIPANT_LEFT if owner.customer else EndReason.ENDED_BY_REQUEST
            try:
                await service.end_session(session, reason)
            except NotFoundError:
                log.info("the VoiceSession to end is gone already")
            except (KubernetesError, KubernetesUnavailableError) as error:
                raise _kubernetes_away(error) from error
        return Response(status_code=204)

    @router.get("/transcript", response_model_exclude_none=True, summary="What was said")
    async def read_transcript(room: str, request: Request) -> Transcript:
        """Returns the call's words so far, as they were heard, in order."""
        session = await (await _know_owner(service, request, room)).require_session()
        if service.transcripts is None:
            raise HttpProblem(
                404, "no-transcripts", "No transcripts", "This service has no database to read them from."
            )
        try:
            items = await service.transcripts.read_transcript(session.metadata.uid)
        except ConversationsUnavailableError as error:
            log.warning("transcript not read", extra={"error": error})
            raise unavailable("The database of conversations", 5) from error
        return Transcript(items=[_build_item(item) for item in items if item.role not in _SAID_BY_NOBODY])

    return router


def build_state(session: VoiceSession, for_tenant: bool) -> CallState:
    """Returns what the call's owner is told; the operator's own words only for a tenant."""
    status = session.status
    return CallState(
        room=session.spec.room or status.room or "",
        phase=status.phase or Phase.PENDING,
        reason=status.reason,
        message=status.message if for_tenant else words_for_customer(status.reason, status.phase),
        endReason=status.end_reason,
        retryAfterSeconds=retry_after(status.reason),
        sessionId=session.metadata.uid,
        profile=session.spec.profile,
        llmProvider=status.llm_provider,
        agentJoinedAt=status.agent_joined_at,
        endedAt=status.ended_at,
    )


async def _know_owner(service: Service, request: Request, room: str) -> "_Owner":
    """Returns who asks for the call in this room, whose request is counted.

    Raises:
        HttpProblem: 401 for a stranger, 404 where it is another room's customer, 429 for who asks too often.
    """
    service.require_cache()
    bearer = read_bearer(request.headers.get("authorization"))
    customer = service.tokens.read_pass(bearer) if bearer else None
    if customer is not None:
        service.rate_limits.check("call", customer.room)
        if customer.room != room:
            raise _not_there()
        return _Owner(service, room, customer, None)
    tenant = (await service.authenticate(request)).tenant
    if tenant is None:
        detail = "Show the participant's token as `Authorization: Bearer TOKEN`."
        raise HttpProblem(401, "unauthorized", "Whose call?", detail, headers={"WWW-Authenticate": "Bearer"})
    return _Owner(service, room, None, tenant)


class _Owner:
    """Whoever shows a token for one room: its customer, or a tenant by key."""

    def __init__(self, service: Service, room: str, customer: Pass | None, tenant: str | None) -> None:
        self._service = service
        self._room = room
        self.customer = customer
        self._tenant = tenant

    async def require_session(self) -> VoiceSession:
        """Returns the newest call in the room; raises HttpProblem 404 where there is none of this owner's."""
        session = await self.find_session()
        if session is None:
            raise _not_there()
        return session

    async def find_session(self) -> VoiceSession | None:
        """Returns the newest call in the room, or None where there is none of this owner's."""
        mine = [each for each in await self._list_sessions() if self._owns(each)]
        newest = max(
            mine, key=lambda each: (each.metadata.creation_timestamp or clock.now(), each.metadata.name), default=None
        )
        if newest is not None:
            add_to_log_context(**newest.log_fields)
        return newest

    def find_refusal(self) -> CallState | None:
        """Returns why this customer's room would be refused, judged by the ticket that the token carries.

        Nothing is stored about refused rooms, so it is judged anew: what held a moment ago mostly holds still.
        """
        if self.customer is None or not self._may_just_begin():
            return None  # its call may have been, and been cleaned up since
        service = self._service
        room = RoomStart(self._room, f"of {self._room}", clock.now(), self.customer.room_metadata)
        decision = decide_admission(room, clock.now(), service.grounds)
        if not isinstance(decision, Refuse):
            return None
        return CallState(
            room=self._room,
            phase=Phase.FAILED,
            reason=decision.reason,
            message=decision.message,
            retryAfterSeconds=decision.retry_after,
        )

    async def _list_sessions(self) -> list[VoiceSession]:
        sessions = self._service.cache.sessions
        unseen = not sessions.count("room", self._room) and self._may_just_begin()
        if unseen and self._service.rate_limits.may_look_up(self._room):
            try:
                await self._service.look_for_calls(self._room)  # another replica may have made one a moment ago
            except (KubernetesError, KubernetesUnavailableError) as error:
                raise _kubernetes_away(error) from error
        return sessions.by("room", self._room)

    def _may_just_begin(self) -> bool:
        """Tells whether the room may have started a moment ago, which no token can do long after its time."""
        if self.customer is None:
            return True
        limits = self._service.settings.admission_limits
        return clock.now() - self.customer.expired_at <= limits.max_ticket_age + limits.max_room_wait

    def _owns(self, session: VoiceSession) -> bool:
        if self.customer is None:
            return session.spec.tenant == self._tenant
        if session.spec.participant_identity not in {None, self.customer.identity}:
            return False
        profile = self._service.cache.profiles.by_name.get(session.spec.profile)
        return not _is_too_old(self.customer, profile.spec if profile else AgentProfileSpec())


def _is_too_old(customer: Pass, profile: AgentProfileSpec) -> bool:
    longest = timedelta(seconds=profile.limits.max_duration_seconds) + _READING_TIME
    return clock.now() - customer.expired_at > longest


def _build_item(item: ConversationItem) -> TranscriptItem:
    return TranscriptItem(
        kind=item.kind,
        role=item.role,
        content=item.content,
        interrupted=item.interrupted,
        createdAt=item.created_at,
    )


def _not_there() -> HttpProblem:
    detail = "There is no call in this room, it was cleaned up, or it is not yours."
    return HttpProblem(404, "no-such-call", "No such call", detail)


def _kubernetes_away(error: Exception) -> HttpProblem:
    log.warning("VoiceSessions not reached", extra={"error": error})
    return unavailable("Kubernetes")
