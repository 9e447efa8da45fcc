"""What the operator has seen of the API server so far, and the answers to its own writes at once.

Watches deliver late, twice, or not at all, and an own write's answer may overtake them. So an object enters only if it
is newer than what is held, an object that was seen to go does not come back, and a full list shows what a watch missed.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from voice_operator.pods.agent_pod import AgentPod, read_pod
from voicesession.admission import is_finished
from voicesession.models import AgentPool, AgentProfile, VoiceSession

log = logging.getLogger(__name__)
T = TypeVar("T")
RawObject = Mapping[str, Any]

# How many objects that went are remembered, so that a late answer about one does not bring it back.
_GRAVES = 10_000


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    uid: str
    version: int
    value: T


class Store(Generic[T]):
    """All objects of one kind, by name, and by what `indexes` say of them."""

    def __init__(
        self,
        parse: Callable[[RawObject], T],
        indexes: Mapping[str, Callable[[T], str | None]] | None = None,
        on_change: Callable[[T | None, T | None], object] = lambda _before, _after: None,
    ) -> None:
        """`on_change` is told the value before and after; None where there is none."""
        self._parse = parse
        self._entries: dict[str, _Entry[T]] = {}
        self._gone: dict[str, None] = {}  # uids, oldest first
        self._keys = dict(indexes or {})
        self._indexes: dict[str, dict[str, dict[str, T]]] = {name: defaultdict(dict) for name in self._keys}
        self.on_change = on_change

    def get(self, name: str) -> T | None:
        """Returns the object of this name, or None."""
        entry = self._entries.get(name)
        return entry.value if entry else None

    def all(self) -> list[T]:
        """Returns every object."""
        return [entry.value for entry in self._entries.values()]

    def by(self, index: str, key: str) -> list[T]:
        """Returns the objects for which this index says `key`."""
        return list(self._indexes[index].get(key, {}).values())

    def count(self, index: str, key: str) -> int:
        """Returns how many objects this index has under `key`."""
        return len(self._indexes[index].get(key, ()))

    def put(self, raw: RawObject) -> None:
        """Takes in an object, unless it is older than what is held, or is known to be gone."""
        metadata = raw["metadata"]
        name, uid, version = metadata["name"], metadata["uid"], int(metadata["resourceVersion"])
        held = self._entries.get(name)
        if uid in self._gone or (held and held.uid == uid and held.version >= version):
            return
        if held and held.uid != uid:
            self._drop(name, held)
        try:
            value = self._parse(raw)
        except ValidationError as error:
            # Written by a newer release, or past the CRD's rules: no reason to stop serving the others.
            log.error("%s %s cannot be read and is ignored: %s", raw.get("kind"), name, error)  # noqa: TRY400
            return
        before = held.value if held and held.uid == uid else None
        self._unindex(name, before)
        self._entries[name] = _Entry(uid, version, value)
        self._index(name, value)
        self.on_change(before, value)

    def remove(self, name: str, uid: str) -> None:
        """Takes out an object that is gone; one of the same name but another uid stays."""
        self._bury(uid)
        held = self._entries.get(name)
        if held and held.uid == uid:
            self._drop(name, held)

    def resync(self, raws: Iterable[RawObject], version: int) -> list[str]:
        """Takes in a full list of `version`; what it lacks is gone, unless it is newer than the list.

        Returns the names of what turned out to be gone: deletions that no watch had told.
        """
        listed = set()
        for raw in raws:
            listed.add(raw["metadata"]["uid"])
            self.put(raw)
        missing = [
            (name, entry)
            for name, entry in self._entries.items()
            if entry.uid not in listed and entry.version <= version
        ]
        for name, entry in missing:
            self.remove(name, entry.uid)
        return [name for name, _ in missing]

    def _drop(self, name: str, held: _Entry[T]) -> None:
        self._bury(held.uid)
        del self._entries[name]
        self._unindex(name, held.value)
        self.on_change(held.value, None)

    def _bury(self, uid: str) -> None:
        self._gone[uid] = None
        if len(self._gone) > _GRAVES:
            del self._gone[next(iter(self._gone))]

    def _index(self, name: str, value: T) -> None:
        for index, key_of in self._keys.items():
            key = key_of(value)
            if key is not None:
                self._indexes[index][key][name] = value

    def _unindex(self, name: str, value: T | None) -> None:
        if value is None:
            return
        for index, key_of in self._keys.items():
            key = key_of(value)
            if key is not None:
                bucket = self._indexes[index][key]
                bucket.pop(name, None)
                if not bucket:
                    del self._indexes[index][key]


def _live_profile(session: VoiceSession) -> str | None:
    return None if is_finished(session) else session.spec.profile


def _live_tenant(session: VoiceSession) -> str | None:
    return None if is_finished(session) else session.spec.tenant


def _live_room(session: VoiceSession) -> str | None:
    return None if is_finished(session) else session.spec.room


class Cache:
    """VoiceSessions, AgentPools, AgentProfiles and agent pods, as far as seen."""

    def __init__(self) -> None:
        self.sessions: Store[VoiceSession] = Store(
            VoiceSession.model_validate,
            {
                "uid": lambda session: session.metadata.uid,
                "live-profile": _live_profile,
                "live-tenant": _live_tenant,
                "live-room": _live_room,
            },
        )
        self.pools: Store[AgentPool] = Store(AgentPool.model_validate)
        self.profiles: Store[AgentProfile] = Store(AgentProfile.model_validate)
        self.pods: Store[AgentPod] = Store(
            read_pod,
            {
                "pool": lambda pod: pod.pool,
                "starting-pool": lambda pod: pod.pool if pod.warm and not pod.ready else None,
                "session": lambda pod: pod.session,
            },
        )
