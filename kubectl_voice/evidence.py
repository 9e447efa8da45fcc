"""Gathers what the API server, and the conversation's rows, know of one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from conversations.reader import TranscriptItem
from conversations.undelivered import read_metadata
from kube.client import ForbiddenError, KubernetesApi, Raw
from kubectl_voice.facts import EventFacts, PodFacts, read_events, read_pod
from voicesession import clock
from voicesession.models import AgentPool, AgentProfile, VoiceSession
from voicesession.names import SESSION_LABEL, UNDELIVERED_LABEL, VOICE_SESSIONS

Kind = TypeVar("Kind", AgentPool, AgentProfile, VoiceSession)


class CallNotFoundError(Exception):
    """There is no VoiceSession of this name, room or uid, or more than one; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one call. `items`: None where nobody could read them, for the reason in `unread`."""

    session: VoiceSession
    now: datetime
    pods: tuple[PodFacts, ...] = ()
    events: tuple[EventFacts, ...] = ()
    items: tuple[TranscriptItem, ...] | None = None
    unread: str = ""
    undelivered_rows: int = 0


async def list_sessions(api: KubernetesApi) -> list[VoiceSession]:
    """Returns all VoiceSessions that can be read, the oldest first."""
    raws, _ = await api.list_objects(VOICE_SESSIONS)
    sessions = [session for raw in raws if (session := _read(VoiceSession, raw))]
    return sorted(sessions, key=lambda session: session.metadata.creation_timestamp or clock.now())


async def find_session(api: KubernetesApi, wanted: str) -> VoiceSession:
    """Returns the VoiceSession of this name, uid or room. Of several for one room: the newest that is not over.

    Raises:
        CallNotFoundError: there is none.
    """
    sessions = await list_sessions(api)
    named = [each for each in sessions if wanted in {each.metadata.name, each.metadata.uid}]
    if named:
        return named[0]
    of_room = [each for each in sessions if wanted in {each.spec.room, each.status.room}]
    if not of_room:
        raise CallNotFoundError(
            f"no VoiceSession in namespace {api.namespace!r} has the name, uid or room {wanted!r}. A finished one is "
            "kept for its ttlSecondsAfterFinished; a room that was refused never has one: "
            "`kubectl voice doctor` says whether rooms' starts reach this installation"
        )
    return max(of_room, key=lambda each: (each.status.ended_at is None, each.metadata.creation_timestamp))


def name_move() -> str:
    """Returns a `spec.move` that no VoiceSession has had: the time."""
    return clock.now().strftime("%Y%m%dT%H%M%S.%f")


async def gather(api: KubernetesApi, session: VoiceSession) -> Evidence:
    """Returns what the API server knows of a call; what the user may not read is left out."""
    uid = session.metadata.uid
    pods = [read_pod(raw) for raw in await api.list_pods_of(uid)]
    events = await _events_of(api, uid, [pod.name for pod in pods])
    kept = await _undelivered(api, uid)
    return Evidence(
        session=session,
        now=clock.now(),
        pods=tuple(sorted(pods, key=lambda pod: pod.attempt)),
        events=events,
        undelivered_rows=kept,
    )


async def _events_of(api: KubernetesApi, uid: str, pods: Sequence[str]) -> tuple[EventFacts, ...]:
    try:
        raws = await api.list_events_of(uid)
        for name in pods:
            raws += await api.list_kind("v1", "events", field_selector=f"involvedObject.name={name}")
    except ForbiddenError:
        return ()
    return read_events(raws)


async def _undelivered(api: KubernetesApi, uid: str) -> int:
    try:
        listed = await api.list_config_map_metadata(f"{UNDELIVERED_LABEL}=true,{SESSION_LABEL}={uid}")
    except ForbiddenError:
        return 0
    return sum(piece.rows for metadata in listed if (piece := read_metadata(metadata)))


def _read(kind: type[Kind], raw: Raw) -> Kind | None:
    """Returns an object, or None where this release cannot read it."""
    try:
        return kind.model_validate(raw)
    except ValidationError:
        return None
