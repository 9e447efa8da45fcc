"""Which pods could take a call this moment, which of them are spoken for, and who waits for one."""

from voice_operator.agent_pods import AgentPod
from voice_operator.calls import Call
from voice_operator.picture import Picture
from voice_operator.waiting_line import WaitingLine


class ReadyPods:
    """The shelf of ready pods and the line before it, for each pool.

    A pod is taken off before its claim is sent, so that two calls of this operator never try for the same one. That
    two operators do not get the same one is the claim's own business.
    """

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self.answering: set[str] = set()  # uids of pods that answered us before the kubelet knew
        self.reserved: set[str] = set()  # uids of pods whose claim is under way
        self._lines: dict[str, WaitingLine] = {}

    def is_ready(self, pod: AgentPod) -> bool:
        """Tells whether this pod can take a call and is not spoken for."""
        return pod.warm and pod.uid not in self.reserved and (pod.ready or pod.uid in self.answering)

    def list_ready(self, pool: str) -> list[AgentPod]:
        """Returns the pool's ready pods."""
        return [pod for pod in self._picture.pods.by("warm-pool", pool) if self.is_ready(pod)]

    def reserve(self, pool: str, template: str, call: Call) -> AgentPod | None:
        """Takes a pod off the shelf for this call, which waits no more: an up-to-date one, the oldest of those."""
        ready = self.list_ready(pool)
        if not ready:
            return None
        pod = min(ready, key=lambda pod: (pod.template != template, pod.created_at, pod.uid))
        self.reserved.add(pod.uid)
        self._lines[pool].serve(call)
        call.waiting_for = None
        return pod

    def release(self, pod: AgentPod) -> None:
        """Puts a pod back; what the picture says of it by now decides whether it is on the shelf again."""
        self.reserved.discard(pod.uid)

    def join_line(self, pool: str, call: Call) -> bool:
        """Has a call wait for a pod of this pool, and tells whether there is one for it already."""
        if call.waiting_for != pool:
            self.leave_line(call)
            call.waiting_for = pool
            self._lines.setdefault(pool, WaitingLine()).join(call)
        line = self._lines[pool]
        ready = len(self.list_ready(pool))
        return ready >= len(line) or call in line.first(ready)

    def leave_line(self, call: Call) -> None:
        """Has a call wait no more."""
        if call.waiting_for is not None:
            self._lines[call.waiting_for].leave(call)
            call.waiting_for = None

    def count_waiting(self, pool: str) -> int:
        """Returns how many calls wait for a pod of this pool."""
        return len(self._lines.get(pool, ()))

    def head_of_line(self, pool: str) -> list[Call]:
        """Returns the waiting calls for which there are ready pods."""
        line = self._lines.get(pool)
        return line.first(len(self.list_ready(pool))) if line else []
