"""Which pods could take a call this moment, which of them are spoken for, and who waits for one."""

import time
from collections.abc import Callable

from voice_operator.cache import Cache
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pools.waiting_line import Waiter, WaitingLine

# The pods of a node that is lost look ready until Kubernetes says otherwise, which takes it 40 s.
SUSPICION_SECONDS = 60.0


class ReadyPods:
    """The shelf of ready pods and the line before it, for each pool.

    A pod is taken off before its claim is sent, so that two calls of this operator never try for the same one. That
    two operators do not get the same one is the claim's own business. Nothing here grows with the number of pods but
    the shelf itself: thousands may wait.
    """

    def __init__(self, cache: Cache, on_pod_for: Callable[[str], object] = lambda _uid: None) -> None:
        """`on_pod_for` is told the uid of each waiting call for which there is, or may be, a pod now."""
        self._cache = cache
        self.on_pod_for = on_pod_for
        self.answering: set[str] = set()  # uids of pods that answered us before the kubelet knew
        self.reserved: set[str] = set()  # uids of pods whose claim or deletion is under way
        self._shelves: dict[str, dict[str, AgentPod]] = {}  # by pool and uid, in the order of becoming ready
        self._lines: dict[str, WaitingLine] = {}  # by pool
        self._waits_in: dict[str, str] = {}  # pool by call
        self._suspected_until: dict[str, float] = {}  # by node
        self._lost_until: dict[str, float] = {}  # by node

    # Pods

    def update(self, before: AgentPod | None, after: AgentPod | None) -> bool:
        """Takes in a change of a pod; tells whether it has become ready by it."""
        pod = after or before
        if pod is None:
            return False
        shelf = self._shelves.setdefault(pod.pool, {})
        if after is None or not after.warm or after.ready:
            self.answering.discard(pod.uid)  # from now on its kubelet's word counts, also that it answers no more
        if after is None or not self.is_ready(after):
            shelf.pop(pod.uid, None)
            return False
        new = pod.uid not in shelf
        shelf[pod.uid] = after
        if new:
            self._wake(pod.pool)
        return new

    def answered(self, pod: AgentPod) -> None:
        """Takes in that a starting pod says it is ready."""
        self.answering.add(pod.uid)
        self._look_again(pod)

    def is_ready(self, pod: AgentPod) -> bool:
        """Tells whether this pod can take a call and is not spoken for."""
        there = pod.ready or pod.uid in self.answering
        wanted = there and pod.warm and pod.understood
        return wanted and pod.uid not in self.reserved and pod.node not in self._lost_until

    def list_ready(self, pool: str) -> list[AgentPod]:
        """Returns the pool's ready pods, the one that has been ready the longest first."""
        return list(self._shelves.get(pool, {}).values())

    def reserve_for(self, uid: str, pool: str, template: str, avoid: str | None = None) -> AgentPod | None:
        """Takes a pod of this pool off the shelf for a call of its line, which waits no more.

        One of a node that is not suspected, nor `avoid`, and of those an up-to-date one, if there are such.
        """
        shelf = self._shelves.get(pool)
        if not shelf:
            return None

        def is_good(pod: AgentPod) -> bool:
            return not self._is_suspected(pod) and (avoid is None or pod.node != avoid)

        good = (pod for pod in shelf.values() if is_good(pod))
        up_to_date = (pod for pod in shelf.values() if pod.template == template and is_good(pod))
        pod = next(up_to_date, None) or next(good, None) or next(iter(shelf.values()))
        self.reserve(pod)
        self._lines[pool].serve(uid)
        del self._waits_in[uid]
        return pod

    def suspect(self, node: str) -> None:
        """Has this node's pods taken last for a while: one of them did not answer."""
        now = time.monotonic()
        self._suspected_until = {name: until for name, until in self._suspected_until.items() if until > now}
        self._suspected_until[node] = now + SUSPICION_SECONDS

    def lose(self, node: str) -> None:
        """Has this node's pods not taken at all for a while: a call's agent there was lost with it.

        Where there is no pod on any other node they are taken all the same.
        """
        self.suspect(node)
        pods = self._cache.pods.all()
        if all(pod.node in {None, node} for pod in pods if pod.live):
            return
        self._lost_until[node] = time.monotonic() + SUSPICION_SECONDS
        self._look_again_at(node)

    def _find_again(self) -> None:
        now = time.monotonic()
        for node in [node for node, until in self._lost_until.items() if until <= now]:
            del self._lost_until[node]
            self._look_again_at(node)

    def _look_again_at(self, node: str) -> None:
        for pod in self._cache.pods.all():
            if pod.node == node:
                self.update(None, pod)

    def _is_suspected(self, pod: AgentPod) -> bool:
        return pod.node is not None and self._suspected_until.get(pod.node, 0.0) > time.monotonic()

    def reserve(self, pod: AgentPod) -> None:
        """Takes this pod off the shelf until it is released."""
        self.reserved.add(pod.uid)
        self._shelves.get(pod.pool, {}).pop(pod.uid, None)

    def release(self, pod: AgentPod) -> None:
        """Puts a pod back; what the cache says of it by now decides whether it is on the shelf again."""
        self.reserved.discard(pod.uid)
        self._look_again(pod)

    def _look_again(self, pod: AgentPod) -> None:
        held = self._cache.pods.get(pod.name)
        if held and held.uid == pod.uid:
            self.update(None, held)

    def forget(self, pool: str) -> None:
        """Drops what is remembered of a pool that is gone and has no ready pod, nor a call that waits, any more."""
        if not self._shelves.get(pool):
            self._shelves.pop(pool, None)
        if not self.count_waiting(pool):
            self._lines.pop(pool, None)

    # Calls, by the uid of their VoiceSession

    def join_line(self, pool: str, waiter: Waiter) -> Waiter:
        """Has a call that stands in no line wait for a pod of this pool; returns it with its turn."""
        self._waits_in[waiter.uid] = pool
        return self._lines.setdefault(pool, WaitingLine()).join(waiter)

    def leave_line(self, uid: str) -> None:
        """Has a call wait no more."""
        pool = self._waits_in.pop(uid, None)
        if pool is not None:
            self._lines[pool].leave(uid)
            self._wake(pool)  # the pod that was for it is the next one's

    def line_of(self, uid: str) -> str | None:
        """Returns the pool in whose line this call stands, or None."""
        return self._waits_in.get(uid)

    def has_pod_for(self, uid: str) -> bool:
        """Tells whether there is a pod for this call already, with all that stand before it in its line served."""
        pool = self._waits_in.get(uid)
        if pool is None:
            return False
        self._find_again()
        line, ready = self._lines[pool], len(self._shelves.get(pool, ()))
        return ready >= len(line) or any(waiter.uid == uid for waiter in line.first(ready))

    def count_waiting(self, pool: str) -> int:
        """Returns how many calls wait for a pod of this pool."""
        return len(self._lines.get(pool, ()))

    def _wake(self, pool: str) -> None:
        line, ready = self._lines.get(pool), len(self._shelves.get(pool, ()))
        for waiter in line.first(ready) if line and ready else ():
            self.on_pod_for(waiter.uid)
