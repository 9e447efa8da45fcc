"""Which keys a change in the cache concerns."""

from voice_operator.cache import Cache
from voice_operator.calls.memory import Calls
from voice_operator.keys import Key, Kind
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.work_queue import WorkQueue
from voicesession.models import AgentPool, AgentProfile, VoiceSession
from voicesession.serving import pool_for

# Pools, profiles and preparations are off the hot path: many changes, one look.
_CALM_SECONDS = 0.05
_PREPARATION_SECONDS = 0.5


class Routing:
    """Turns changes of the cache into keys of the queue."""

    def __init__(self, cache: Cache, calls: Calls, ready_pods: ReadyPods, queue: WorkQueue[Key]) -> None:
        self._cache = cache
        self._calls = calls
        self._ready = ready_pods
        self._queue = queue

    def connect(self) -> None:
        """Begins to listen; everything that the cache holds already is queued, the oldest calls first."""
        self._ready.on_pod_for = lambda uid: self._queue.add(Key(Kind.CALL, uid))
        self._cache.sessions.on_change = self.session_changed
        self._cache.pods.on_change = self.pod_changed
        self._cache.pools.on_change = self.pool_changed
        self._cache.profiles.on_change = self.profile_changed
        self._calls.inherited = {session.metadata.uid for session in self._cache.sessions.all()}
        for session in sorted(self._cache.sessions.all(), key=_age):
            self.session_changed(None, session)
        for pod in self._cache.pods.all():
            self.pod_changed(None, pod)
        for pool in self._cache.pools.all():
            self.pool_changed(None, pool)
        for profile in self._cache.profiles.all():
            self.profile_changed(None, profile)

    def session_changed(self, before: VoiceSession | None, after: VoiceSession | None) -> None:
        """A VoiceSession was seen for the first time, in a new state, or never again."""
        session = after or before
        if session is None:
            return
        uid = session.metadata.uid
        self._queue.add(Key(Kind.CALL, uid))
        if session.spec.room:
            for other in self._cache.sessions.by("live-room", session.spec.room):
                if other.metadata.uid != uid:
                    self._queue.add(Key(Kind.CALL, other.metadata.uid))
        self._queue.add_after(Key(Kind.PROFILE, session.spec.profile), _CALM_SECONDS)

    def pod_changed(self, before: AgentPod | None, after: AgentPod | None) -> None:
        """An agent pod was seen for the first time, in a new state, or never again."""
        for uid in {pod.session for pod in (before, after) if pod}:
            if uid:
                self._queue.add(Key(Kind.CALL, uid))
        pod = after or before
        if pod is None:
            return
        if self._ready.update(before, after):
            self.pod_became_ready(pod)
        self._queue.add_after(Key(Kind.POOL, pod.pool), 0 if self._ready.count_waiting(pod.pool) else _CALM_SECONDS)

    def pod_became_ready(self, pod: AgentPod) -> None:
        """A pod can take a call, or else prepare for it."""
        self._queue.add_after(Key(Kind.PREPARATION, pod.pool), _PREPARATION_SECONDS)

    def pool_changed(self, before: AgentPool | None, after: AgentPool | None) -> None:
        """An AgentPool was seen for the first time, with a new spec, or never again."""
        pool = after or before
        if pool is None or (before and after and before.metadata.generation == after.metadata.generation):
            return
        self._queue.add(Key(Kind.POOL, pool.metadata.name))
        self._queue.add_after(Key(Kind.PREPARATION, pool.metadata.name), _CALM_SECONDS)
        for profile in self._cache.profiles.all():
            self._queue.add_after(Key(Kind.PROFILE, profile.metadata.name), _CALM_SECONDS)
        self._look_at_waiting_calls()
        if pool.spec.rollout.long_calls == "Move":
            for memory in self._calls:
                if memory.last_pod and memory.last_pod.pool == pool.metadata.name:
                    self._queue.add(Key(Kind.CALL, memory.uid))

    def profile_changed(self, before: AgentProfile | None, after: AgentProfile | None) -> None:
        """An AgentProfile was seen for the first time, with a new spec, or never again."""
        profile = after or before
        if profile is None or (before and after and before.metadata.generation == after.metadata.generation):
            return
        self._queue.add_after(Key(Kind.PROFILE, profile.metadata.name), _CALM_SECONDS)
        for each in filter(None, (before, after)):
            for local_mode in (False, True):
                self._queue.add_after(Key(Kind.PREPARATION, pool_for(each, local_mode)), _CALM_SECONDS)
        self._look_at_waiting_calls()

    def _look_at_waiting_calls(self) -> None:
        for memory in self._calls:
            if memory.last_pod is None:
                self._queue.add(Key(Kind.CALL, memory.uid))


def _age(session: VoiceSession) -> str:
    created = session.metadata.creation_timestamp
    return created.isoformat() if created else ""
