"""What the routes work with, and the callers' part of each: who asks, and what is known right now."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from fastapi import Request

from conversations.reader import TranscriptItem
from conversations.viewer import Conversation, FoundConversation, Search
from kube.client import Raw
from kube.watch import Source
from rooms.client import RoomClient
from rooms.tokens import RoomTokens
from token_service.cache import Cache
from token_service.callers import Authenticator, Caller, read_bearer
from token_service.later import Later
from token_service.problems import HttpProblem, unavailable
from token_service.rate_limits import RateLimits, address_of
from token_service.settings import TokenServiceSettings
from voice_telemetry.logs import add_to_log_context
from voicesession.admission import Grounds, Refuse
from voicesession.models import EndReason, VoiceSession
from voicesession.names import ROOM_HASH_LABEL, VOICE_SESSIONS, short_hash
from voicesession.tickets import TicketKey

log = logging.getLogger(__name__)


class Cluster(Source, Protocol):
    """All that the token service asks of Kubernetes, in its own namespace; `kube.client.KubernetesApi` is one."""

    async def list_objects(self, plural: str, label_selector: str = "") -> tuple[list[Raw], int]:
        """Returns all objects of one of our kinds, or those with these labels, and the list's resource version."""

    async def get_session(self, name: str) -> Raw:
        """Returns a VoiceSession; NotFoundError where there is none."""

    async def create_session(self, session: Raw) -> Raw:
        """Creates a VoiceSession; ConflictError where there is one of this name."""

    async def end_session(self, name: str, reason: EndReason) -> Raw:
        """Sets a VoiceSession's `spec.end`, and writes down why; NotFoundError where there is none."""


class TranscriptSource(Protocol):
    """Reads transcripts; `conversations.reader.TranscriptReader` is one, and says what it raises."""

    async def read_transcript(self, session_id: str) -> Sequence[TranscriptItem]:
        """Returns the items of a conversation in order."""


class ConversationSource(TranscriptSource, Protocol):
    """Finds conversations; `conversations.viewer.ConversationViewer` is one, and says what it raises."""

    async def list_conversations(self, search: Search, at_most: int) -> Sequence[FoundConversation]:
        """Returns the newest that are looked for, the newest first."""

    async def find_conversations(self, tenant: str | None, room: str, named: UUID | None) -> Sequence[Conversation]:
        """Returns the conversations of a room that are this tenant's, or with None all; and the one that is named."""


@dataclass(frozen=True)
class Service:
    """Everything that outlives a request. `transcripts`: None without a database; `calls`: where their page is on."""

    settings: TokenServiceSettings
    cluster: Cluster
    cache: Cache
    rooms: RoomClient
    tokens: RoomTokens
    tickets: TicketKey
    authenticator: Authenticator
    rate_limits: RateLimits
    transcripts: TranscriptSource | None = None
    calls: ConversationSource | None = None
    later: Later = field(default_factory=Later)

    async def authenticate(self, request: Request) -> Caller:
        """Returns who asks, whose request is counted: nothing was done for it yet.

        Raises:
            HttpProblem: 401 for a stranger, 429 for one who asks too often.
        """
        return await self.authenticate_bearer(request, read_bearer(request.headers.get("authorization")))

    async def authenticate_bearer(self, request: Request, bearer: str | None) -> Caller:
        """Returns who shows this bearer token, wherever in the request it is; raises as `authenticate`."""
        try:
            caller = await self.authenticator.authenticate(bearer)
        except HttpProblem:
            self.count(request, None)
            raise
        self.count(request, caller)
        return caller

    def count(self, request: Request, caller: Caller | None) -> None:
        """Counts a request of this caller, or of a stranger; raises HttpProblem 429 where there were too many."""
        if caller is None or caller.tenant is None:
            self.rate_limits.check("address", address_of(request))
            return
        add_to_log_context(tenant=caller.tenant)
        self.rate_limits.check("tenant", caller.tenant)

    def keep_created(self, raw: Raw) -> None:
        """Takes in a VoiceSession that this request has just created; the request's log lines name it from now on."""
        self.cache.sessions.put(raw)
        add_to_log_context(**VoiceSession.model_validate(raw).log_fields)
        log.info("VoiceSession created")

    async def look_for_calls(self, room: str) -> bool:
        """Takes in the calls of this room as the API server has them now: the watch may not have told of one yet.

        Returns whether this release can read all of them.

        Raises:
            KubernetesError, KubernetesUnavailableError: it does not say.
        """
        raws, _ = await self.cluster.list_objects(VOICE_SESSIONS, f"{ROOM_HASH_LABEL}={short_hash(room)}")
        for raw in raws:
            self.cache.sessions.put(raw)
        return not any(self.cache.sessions.is_unreadable(raw["metadata"]["uid"]) for raw in raws)

    async def end_session(self, session: VoiceSession, reason: EndReason) -> None:
        """Asks the operator to end a call.

        Raises:
            NotFoundError: there is no such VoiceSession any more.
        """
        self.cache.sessions.put(await self.cluster.end_session(session.metadata.name, reason))

    @property
    def grounds(self) -> Grounds:
        """Returns what starts of rooms are admitted by."""
        return Grounds(self.cache.sessions, self.cache.profiles.by_name, self.settings.admission_limits, self.tickets)

    def require_cache(self) -> None:
        """Makes sure that the cluster's objects are known.

        Raises:
            HttpProblem: 503, they are not yet.
        """
        if not self.cache.synced:
            raise unavailable("Kubernetes")


def no_place(refusal: Refuse) -> HttpProblem:
    """Returns the answer to a request that a room's start would be refused for."""
    return HttpProblem(429, refusal.reason, "No free place", refusal.message, refusal.retry_after)
