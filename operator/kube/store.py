"""The objects of one kind as far as seen: the newest wins, what is gone stays gone, and indexes find them.

Watches deliver late, twice, or not at all, and an own write's answer may overtake them. So an object enters only if it
is newer than what is held, an object that was seen to go does not come back, and a full list shows what a watch missed.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

log = logging.getLogger(__name__)
T = TypeVar("T")

# How many objects that went are remembered, so that a late answer about one does not bring it back.
_GRAVES = 10_000


@dataclass(frozen=True, slots=True)
class _Seen:
    uid: str
    version: int


class Store(Generic[T]):
    """All objects of one kind, by name, and by what `indexes` say of them. `synced`: a full list was taken in."""

    def __init__(
        self,
        parse: Callable[[Mapping[str, Any]], T],
        indexes: Mapping[str, Callable[[T], str | None]] | None = None,
        on_change: Callable[[T | None, T | None], object] = lambda _before, _after: None,
    ) -> None:
        """`on_change` is told the value before and after; None where there is none."""
        self.synced = False
        self.on_change = on_change
        self._parse = parse
        self._values: dict[str, T] = {}
        self._seen: dict[str, _Seen] = {}  # of each value
        self._gone: dict[str, None] = {}  # uids, oldest first
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

    def put(self, raw: Mapping[str, Any]) -> None:
        """Takes in an object, unless it is older than what is held, or is known to be gone."""
        metadata = raw["metadata"]
        name, new = metadata["name"], _Seen(metadata["uid"], int(metadata["resourceVersion"]))
        held = self._seen.get(name)
        if new.uid in self._gone or (held and held.uid == new.uid and held.version >= new.version):
            return
        if held and held.uid != new.uid:
            self._drop(name, held.uid)
        try:
            value = self._parse(raw)
        except ValidationError as error:
            # Written by a newer release, or past the CRD's rules: no reason to stop serving the others.
            wrong = error.errors(include_url=False, include_input=False, include_context=False)[:3]
            fields = {"kind": raw.get("kind"), "object": name, "wrong": wrong}  # without what a customer's backend sent
            log.error("an object cannot be read and is ignored", extra=fields)  # noqa: TRY400 - the error holds them
            return
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

    def resync(self, raws: Iterable[Mapping[str, Any]], version: int) -> list[str]:
        """Takes in a full list of `version`; what it lacks is gone, unless it is newer than the list.

        Returns the names of what turned out to be gone: deletions that no watch had told.
        """
        listed = set()
        for raw in raws:
            listed.add(raw["metadata"]["uid"])
            self.put(raw)
        missing = [
            (name, held.uid) for name, held in self._seen.items() if held.uid not in listed and held.version <= version
        ]
        for name, uid in missing:
            self.remove(name, uid)
        self.synced = True
        return [name for name, _ in missing]

    def _drop(self, name: str, uid: str) -> None:
        self._bury(uid)
        del self._seen[name]
        value = self._values.pop(name)
        self._unindex(name, value)
        self.on_change(value, None)

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
