"""In which order waiting calls get pods: of arrival, and fair among profiles. Pure but for its own memory."""

import heapq
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Waiter:
    """A call that waits for a pod. `uid`: its VoiceSession's; `arrival`: its number among all calls."""

    uid: str
    profile: str
    arrival: int
    turn: int | None = None  # given by the line, and kept by a call that has to wait again


class WaitingLine:
    """The calls that wait for a pod of one pool.

    Start-time fair queuing: each call gets a turn, one after the turn of its profile's call before it, but never before
    the turn that is being served. So a profile's flood of calls delays another profile's call by one, and a profile
    that was quiet has saved up nothing.
    """

    def __init__(self) -> None:
        self._waiters: dict[str, Waiter] = {}
        self._serving = 0
        self._next_turns: dict[str, int] = {}  # by profile

    def __len__(self) -> int:
        return len(self._waiters)

    def join(self, waiter: Waiter) -> Waiter:
        """Has a call wait; returns it with its turn. One that has a turn already keeps it."""
        if waiter.turn is None:
            turn = max(self._serving, self._next_turns.get(waiter.profile, 0))
            self._next_turns[waiter.profile] = turn + 1
            waiter = replace(waiter, turn=turn)
        self._waiters[waiter.uid] = waiter
        return waiter

    def serve(self, uid: str) -> None:
        """Lets a call go that gets its pod."""
        waiter = self._waiters.pop(uid, None)
        if waiter:
            self._serving = max(self._serving, waiter.turn or 0)
        if not self._waiters:
            self._forget_quiet_profiles()

    def leave(self, uid: str) -> None:
        """Lets a call go without a pod."""
        self._waiters.pop(uid, None)

    def _forget_quiet_profiles(self) -> None:
        """Drops the turns that have been overtaken: who comes next gets one from `_serving` on."""
        self._next_turns = {profile: turn for profile, turn in self._next_turns.items() if turn > self._serving}

    def first(self, count: int) -> list[Waiter]:
        """Returns the next so many calls, in their order."""
        # A long line has few pods, mostly none, and is looked at by each of its calls.
        return heapq.nsmallest(count, self._waiters.values(), key=lambda waiter: (waiter.turn or 0, waiter.arrival))
