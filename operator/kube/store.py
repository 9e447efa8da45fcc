"""The objects of one kind as far as seen: the newest wins, what is gone stays gone, and indexes find them.

Watches deliver late, twice, or not at all, and an own write's answer may overtake them. So an object enters only if it
is newer than what is held, an object that was seen to go does not come back, and a full list shows what a watch missed.
An object that cannot be read is passed over, whatever is wrong with it: the others are served.
"""

import logging
from collections import defaultdict
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

log = logging.getLogger(__name__)
T = TypeVar("T")

# How many objects that went are remembered, so that a late answer about one does not bring it back.
_GRAVES = 10_000
# How much of an error is told.
_ERROR_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object that cannot be read, and what is wrong with it, without a customer's words."""

    name: str
    uid: str
    wrong: str


@dataclass(frozen=True, slots=True)
class _Seen:
    uid: str
    version: int


class Store(Generic[T]):
    """All objects of one kind, by name, and by what `indexes` say of them.

    `synced`: a full list was taken in. `listed_at`: the resource version of the last one.
    """

    def __init__(
        self,
        parse: Callable[[Mapping[str, Any]], T],
        indexes: Mapping[str, Callable[[T], str | None]] | None = None,
        on_change: Callable[[T | None, T | None], object] = lambda _before, _after: None,
        on_unreadable: Callable[[Unreadable], object] = lambda _object: None,
    ) -> None:
        """`on_change` is told the value before and after; None where there is none.

        `on_unreadable` is told once of each object that cannot be read.
        """
        self.synced = False
        self.listed_at = 0
        self.on_change = on_change
        self.on_unreadable = on_unreadable
        self._parse = parse
        self._values: dict[str, T] = {}
        self._seen: dict[str, _Seen] = {}  # of each value
        self._gone: dict[str, None] = {}  # uids, oldest first
        self._unreadable: dict[str, Unreadable] = {}  # by uid
        self._newest = 0  # of all resource versions seen
        self._keys = dict(indexes or {})
        self._indexes: dict[str, dict[str, dict[str, T]]] = {name: defaultdict(dict) for name in self._keys}
        self._by_name = MappingProxyType(self._values)

    @property
    def by_name(self) -> Mapping[str, T]:
        """Returns the objects by name, as they are now and will be; look through it in one go, or copy it."""
        return self._by_name

    def get(self, name: str) -> T | None:
        """Returns the object of this name, or None."""
        return self._values.get(name)

    def all(self) -> list[T]:
        """Returns every object."""
        return list(self._values.values())

    def by(self, index: str, key: str) -> list[T]:
        """Returns the objects for which this index says `key`."""
        return list(self._indexes[index].get(key, {}).values())

    def count(self, index: str, key: str) -> int:
        """Returns how many objects this index has under `key`."""
        return len(self._indexes[index].get(key, ()))

    def is_gone(self, uid: str) -> bool:
        """Tells whether the object of this uid was seen to go; of those that went, the last 10,000 are known."""
        return uid in self._gone

    @property
    def unreadable(self) -> list[Unreadable]:
        """Returns the objects that cannot be read."""
        return list(self._unreadable.values())

    def is_unreadable(self, uid: str) -> bool:
        """Tells whether this object, as it was seen last, cannot be read."""
        return uid in self._unreadable

    def put(self, raw: Mapping[str, Any]) -> None:
        """Takes in an object, unless it is older than what is held, or is known to be gone."""
        try:
            metadata = raw["metadata"]
            name, new = metadata["name"], _Seen(metadata["uid"], int(metadata["resourceVersion"]))
        except (KeyError, TypeError, ValueError) as error:
            log.error("an object without name, uid or version is passed over", extra={"error": error})  # noqa: TRY400
            return
        self._newest = max(self._newest, new.version)
        held = self._seen.get(name)
        if new.uid in self._gone or (held and held.uid == new.uid and held.version >= new.version):
            return
        if held and held.uid != new.uid:
            self._drop(name, held.uid)
        try:
            value = self._parse(raw)
        except Exception as error:
            # Written by a newer release, by hand, or past the CRD's rules: no reason to stop serving the others.
            self._pass_over(raw, name, new.uid, error)
            return
        self._unreadable.pop(new.uid, None)
        before = self._values.get(name)
        self._unindex(name, before)
        self._values[name], self._seen[name] = value, new
        self._index(name, value)
        self.on_change(before, value)

    def remove(self, name: str, uid: str) -> None:
        """Takes out an object that is gone; one of the same name but another uid stays."""
        self._bury(uid)
        held = self._seen.get(name)
        if held and held.uid == uid:
            self._drop(name, uid)

    async def resync(self, pages: AsyncIterable[tuple[Sequence[Mapping[str, Any]], int]]) -> list[str]:
        """Takes in a full list by its pages, each with the list's version; what it lacks is gone, unless it is newer.

        A list that is older than what was seen before it was asked for tells that the API server's memory was restored
        from a copy: then what it has takes the place of what is held. A list that breaks off removes nothing.
        Returns the names of what turned out to be gone: deletions that no watch had told.
        """
        newest, listed, version = self._newest, set[str](), 0
        async for raws, version in pages:
            if version < newest:
                newest = 0
                self._forget_versions(version)
            listed.update(raw["metadata"]["uid"] for raw in raws)
            for raw in raws:
                self.put(raw)
        self._newest = max(self._newest, version)
        missing = [
            (name, held.uid) for name, held in self._seen.items() if held.uid not in listed and held.version <= version
        ]
        for name, uid in missing:
            self.remove(name, uid)
        for uid in self._unreadable.keys() - listed:
            del self._unreadable[uid]
        self.synced, self.listed_at = True, version
        return [name for name, _ in missing]

    def _forget_versions(self, version: int) -> None:
        fields = {"from": self._newest, "to": version}
        log.warning("the API server has gone back: everything is read anew", extra=fields)
        self._newest = version
        self._gone.clear()
        self._seen = {name: _Seen(held.uid, 0) for name, held in self._seen.items()}

    def _pass_over(self, raw: Mapping[str, Any], name: str, uid: str, error: Exception) -> None:
        if uid in self._unreadable:
            return
        found = self._unreadable[uid] = Unreadable(name, uid, _describe(error))
        log.error("an object is passed over", extra={"kind": raw.get("kind"), "object": name, "wrong": found.wrong})
        self.on_unreadable(found)

    def _drop(self, name: str, uid: str) -> None:
        self._bury(uid)
        del self._seen[name]
        value = self._values.pop(name)
        self._unindex(name, value)
        self.on_change(value, None)

    def _bury(self, uid: str) -> None:
        self._unreadable.pop(uid, None)
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


def _describe(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_input=False, include_context=False)[:3]
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)[:_ERROR_CHARACTERS]
    return f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
