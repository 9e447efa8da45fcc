"""Calls of a tenant, or of all: found, and told one by one, to whoever has a key."""

import base64
import json
import logging
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, TypeAdapter

from conversations.pool import ConversationsUnavailableError
from conversations.reader import TranscriptItem
from conversations.viewer import Conversation, FoundConversation, Search
from token_service.calls_schemas import Calls, CallStory
from token_service.calls_story import Call, build_story, build_summary, list_unwritten
from token_service.problems import HttpProblem, refusals, unavailable
from token_service.service import ConversationSource, Service
from token_service.visitors import Visitor, Visitors
from voice_telemetry.logs import add_to_log_context
from voicesession import clock
from voicesession.models import EndReason, VoiceSession

log = logging.getLogger(__name__)

_MOST = 200
_MOMENT = TypeAdapter(AwareDatetime)

Moment = Annotated[AwareDatetime | None, Query(description="With its zone.")]
Word = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9._-]{1,253}$")]
Text = Annotated[str | None, Query(max_length=1024)]


def build_calls_router(service: Service, visitors: Visitors, conversations: ConversationSource) -> APIRouter:
    """Returns the routes under `/api/calls`."""
    router = APIRouter(prefix="/api/calls", tags=["Calls, looked at"])

    # As a dependency, so that a stranger is turned away before the fields are looked at.
    KnownVisitor = Annotated[Visitor, Depends(visitors.know)]  # noqa: N806 - a type

    @router.get("", responses=refusals(401, 403, 422, 429, 503), summary="Calls, the newest first")
    async def list_calls(
        visitor: KnownVisitor,
        since: Annotated[Moment, Query(alias="from")] = None,
        until: Annotated[Moment, Query(alias="to")] = None,
        profile: Word = None,
        reason: Word = None,
        tenant: Word = None,
        room: Text = None,
        limit: Annotated[int, Query(ge=1, le=_MOST)] = 50,
        cursor: Text = None,
    ) -> Calls:
        """Lists calls that began from `from` on and before `to`; yours, or with a key that sees all everybody's.

        A call that no agent has come to is there as long as its VoiceSession.
        """
        service.require_cache()
        search = Search(_choose_tenant(visitor, tenant), since, until, profile, reason, room, _read_cursor(cursor))
        found = await _list(conversations, search, limit + 1)
        written = {str(each.session_id) for each in found}
        sessions = service.cache.sessions
        calls = [Call(each, _find_session(service, each)) for each in found]
        calls += list_unwritten(sessions.by_name.values(), search, written, limit + 1)
        calls.sort(key=lambda call: call.place, reverse=True)
        page, now = calls[:limit], clock.now()
        return Calls(
            items=[build_summary(call, now) for call in page],
            next=_write_cursor(page[-1]) if len(calls) > limit else None,
            sees_all=visitor.sees_all,
            tenant=visitor.tenant,
            profiles=_list_profiles(service, visitor),
            reasons=[each.value for each in EndReason],
        )

    @router.get("/{room}", responses=refusals(401, 404, 422, 429, 503), summary="One call")
    async def read_call(visitor: KnownVisitor, room: str, session: UUID | None = None) -> CallStory:
        """Tells the newest call in a room, or the one with this session id: what was said, and what happened."""
        service.require_cache()
        add_to_log_context(room=room)
        calls = await _find(service, conversations, visitor, room, session)
        wanted = next((call for call in calls if session is None or call.session_id == str(session)), None)
        if wanted is None:
            detail = "There is no call in this room, it was cleaned up, or it is not yours."
            raise HttpProblem(404, "no-such-call", "No such call", detail)
        add_to_log_context(session=wanted.session_id)
        rows = await _read(conversations, wanted)
        return build_story(wanted, rows, [call for call in calls if call is not wanted])

    return router


async def _list(conversations: ConversationSource, search: Search, at_most: int) -> list[FoundConversation]:
    try:
        return list(await conversations.list_conversations(search, at_most))
    except ConversationsUnavailableError as error:
        raise _away(error) from error


async def _find(
    service: Service, conversations: ConversationSource, visitor: Visitor, room: str, named: UUID | None
) -> list[Call]:
    """Returns the calls in a room that a visitor may see, the newest first."""
    tenant = None if visitor.sees_all else visitor.tenant
    try:
        rows = await conversations.find_conversations(tenant, room, named)
    except ConversationsUnavailableError as error:
        raise _away(error) from error
    written = {str(row.session_id) for row in rows}
    live = [each for each in service.cache.sessions.by("room", room) if tenant in {None, each.spec.tenant}]
    calls = [Call(row, _find_session(service, row)) for row in rows]
    calls += [Call(None, each) for each in live if each.metadata.uid not in written]
    return sorted(calls, key=lambda call: call.place, reverse=True)


async def _read(conversations: ConversationSource, call: Call) -> list[TranscriptItem]:
    if call.row is None:
        return []
    try:
        return list(await conversations.read_transcript(call.session_id))
    except ConversationsUnavailableError as error:
        raise _away(error) from error


def _find_session(service: Service, row: Conversation) -> VoiceSession | None:
    sessions = service.cache.sessions.by("room", row.room_id)
    return next((each for each in sessions if each.metadata.uid == str(row.session_id)), None)


def _choose_tenant(visitor: Visitor, asked: str | None) -> str | None:
    """Returns whose calls are looked for; None for everybody's."""
    if visitor.sees_all:
        return asked
    if asked in {None, visitor.tenant}:
        return visitor.tenant
    detail = "`tenant` is for keys that see every tenant's calls. Leave it out."
    raise HttpProblem(403, "not-allowed", "Not yours", detail)


def _list_profiles(service: Service, visitor: Visitor) -> list[str]:
    profiles = service.cache.profiles.by_name
    if visitor.sees_all:
        return sorted(profiles)
    return sorted(name for name, each in profiles.items() if each.spec.public and each.spec.is_for(visitor.tenant))


def _write_cursor(call: Call) -> str:
    at, session_id = call.place
    return base64.urlsafe_b64encode(json.dumps([at.isoformat(), str(session_id)]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    try:
        at, session_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return _MOMENT.validate_python(at), UUID(session_id)
    except (ValueError, TypeError, AttributeError, RecursionError):
        detail = "`cursor` is none of this service's: take `next` of the page before, or leave it out."
        raise HttpProblem(422, "invalid-request", "The request has invalid fields", detail) from None


def _away(error: Exception) -> HttpProblem:
    log.warning("calls not read", extra={"error": error})
    return unavailable("The database of conversations", 5)
