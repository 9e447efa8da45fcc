"""In which order waiting calls get pods: of arrival, and fair among profiles. Pure but for its own memory."""

import heapq

from voice_operator.calls.memory import Call


class WaitingLine:
    """The calls that wait for a pod of one pool.

    Start-time fair queuing: each call gets a turn, one after the turn of its profile's call before it, but never before
    the turn that is being served. So a profile's flood of calls delays another profile's call by one, and a profile
    that was quiet has saved up nothing.
    """

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}
        self._serving = 0
        self._next_turns: dict[str, int] = {}  # by profile

    def __len__(self) -> int:
        return len(self._calls)

    def join(self, call: Call) -> None:
        """Has a call wait; one that has a turn already keeps it."""
        if call.turn is None:
            call.turn = max(self._serving, self._next_turns.get(call.profile, 0))
            self._next_turns[call.profile] = call.turn + 1
        self._calls[call.uid] = call

    def serve(self, call: Call) -> None:
        """Lets a call go that gets its pod."""
        self._serving = max(self._serving, call.turn or 0)
        self.leave(call)

    def leave(self, call: Call) -> None:
        """Lets a call go, with or without a pod."""
        self._calls.pop(call.uid, None)

    def first(self, count: int) -> list[Call]:
        """Returns the next so many calls, in their order."""
        # A long line has few pods, mostly none, and is looked at by each of its calls.
        return heapq.nsmallest(count, self._calls.values(), key=lambda call: (call.turn or 0, call.arrival))
