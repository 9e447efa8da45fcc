"""In which order waiting calls get pods: fair among profiles, and in each among tenants. Pure but for its memory."""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple


class Turn(NamedTuple):
    """A call's places: its profile's among all profiles' calls, and its tenant's among all of that profile's."""

    of_profile: int
    of_tenant: int


# In any line, of a call that had its agent: somebody is in its room and listens to nothing.
BEFORE_ALL = Turn(-1, -1)


@dataclass(frozen=True, slots=True)
class Waiter:
    """A call that waits for a pod. `uid`: its VoiceSession's; `arrival`: its number among all calls.

    `tenant`: empty for those who show no key, who are one together.
    """

    uid: str
    profile: str
    arrival: int
    tenant: str = ""
    turn: Turn | None = None  # given by the line, and kept by a call that has to wait again


class _Places:
    """Start-time fair queuing among names.

    Each call gets a place, one after that of its name's call before it, but never before the one that is being served.
    So a flood of one name's calls delays another's call by one, and one that was quiet has saved up nothing.
    """

    def __init__(self) -> None:
        self._serving = 0
        self._next: dict[str, int] = {}

    def give(self, name: str) -> int:
        """Returns the place of this name's next call."""
        place = max(self._serving, self._next.get(name, 0))
        self._next[name] = place + 1
        return place

    def serve(self, place: int) -> None:
        """Takes in that the call at this place is served."""
        self._serving = max(self._serving, place)

    def take_back(self, name: str, place: int) -> None:
        """Takes in that nobody has this place any more; the last of its name is given anew."""
        if self._next.get(name) == place + 1:
            self._next[name] = place

    def forget_quiet(self) -> None:
        """Drops the places that have been overtaken: who comes next gets one from that which is being served on."""
        self._next = {name: place for name, place in self._next.items() if place > self._serving}


class _ProfileLine:
    """One profile's waiting calls, by uid, and the places of its tenants."""

    def __init__(self) -> None:
        self.waiters: dict[str, Waiter] = {}
        self.tenants = _Places()

    def pick(self, which: Callable[[Iterable[Waiter]], Waiter], uid: str) -> Waiter:
        """Takes this call out, with one of the profile's places; whoever had that one gets the call's own."""
        waiter, holder = self.waiters[uid], which(self.waiters.values())
        self.waiters[holder.uid] = _at(holder, _turn(waiter).of_profile)
        del self.waiters[uid]
        return _at(waiter, _turn(holder).of_profile)

    def first(self, count: int) -> list[tuple[int, int, Waiter]]:
        """Returns the next so many calls, in the order of their tenants' places, each with the profile's next place."""
        # A long line has few pods, mostly none, and is looked at by each of its calls.
        places = heapq.nsmallest(count, (_turn(waiter).of_profile for waiter in self.waiters.values()))
        waiters = heapq.nsmallest(count, self.waiters.values(), key=lambda each: (_turn(each).of_tenant, each.arrival))
        return [(place, waiter.arrival, waiter) for place, waiter in zip(places, waiters, strict=True)]


class WaitingLine:
    """The calls that wait for a pod of one pool.

    The profiles take turns, and whenever it is a profile's, its tenants do: one tenant's flood delays another's call
    of the same profile by one, and another profile's as little. Both by start-time fair queuing.
    """

    def __init__(self) -> None:
        self._profile_of: dict[str, str] = {}  # by uid
        self._lines: dict[str, _ProfileLine] = {}  # by profile; none is empty
        self._places = _Places()  # of profiles

    def __len__(self) -> int:
        return len(self._profile_of)

    def join(self, waiter: Waiter) -> Waiter:
        """Has a call wait; returns it with its turn. One that has a turn already keeps it."""
        line = self._lines.setdefault(waiter.profile, _ProfileLine())
        if waiter.turn is None:
            turn = Turn(self._places.give(waiter.profile), line.tenants.give(waiter.tenant))
            waiter = replace(waiter, turn=turn)
        line.waiters[waiter.uid] = waiter
        self._profile_of[waiter.uid] = waiter.profile
        return waiter

    def serve(self, uid: str) -> None:
        """Lets a call go that gets its pod."""
        if waiter := self._take(uid, _first_of_profile):
            turn = _turn(waiter)
            self._places.serve(turn.of_profile)
            if line := self._lines.get(waiter.profile):
                line.tenants.serve(turn.of_tenant)
        if not self._profile_of:
            self._places.forget_quiet()

    def leave(self, uid: str) -> None:
        """Lets a call go without a pod."""
        if waiter := self._take(uid, _last_of_profile):
            self._places.take_back(waiter.profile, _turn(waiter).of_profile)

    def first(self, count: int) -> list[Waiter]:
        """Returns the next so many calls, in their order."""
        heads = [head for line in self._lines.values() for head in line.first(count)]
        return [waiter for _, _, waiter in heapq.nsmallest(count, heads, key=lambda head: head[:2])]

    def _take(self, uid: str, which: Callable[[Iterable[Waiter]], Waiter]) -> Waiter | None:
        profile = self._profile_of.pop(uid, None)
        if profile is None:
            return None
        line = self._lines[profile]
        waiter = line.pick(which, uid)
        if not line.waiters:
            del self._lines[profile]
        return waiter


def _turn(waiter: Waiter) -> Turn:
    return waiter.turn or BEFORE_ALL  # who waits has one


def _at(waiter: Waiter, place: int) -> Waiter:
    return replace(waiter, turn=_turn(waiter)._replace(of_profile=place))


def _first_of_profile(waiters: Iterable[Waiter]) -> Waiter:
    return min(waiters, key=lambda waiter: _turn(waiter).of_profile)


def _last_of_profile(waiters: Iterable[Waiter]) -> Waiter:
    return max(waiters, key=lambda waiter: _turn(waiter).of_profile)
