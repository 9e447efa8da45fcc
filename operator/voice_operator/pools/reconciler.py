"""Keeps each AgentPool at its number of waiting pods, and its and the profiles' status true."""

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace

from voice_operator.cache import Cache
from voice_operator.keys import Key, Kind
from voice_operator.kubernetes_api import (
    ConflictError,
    ForbiddenError,
    KubernetesApi,
    KubernetesError,
    KubernetesUnavailableError,
    NotFoundError,
)
from voice_operator.metrics import POOL_CREATED, POOL_FAILED, POOL_PODS, POOL_WAITING
from voice_operator.pods.agent_pod import AgentPod, Trouble
from voice_operator.pods.client import PodClient
from voice_operator.pools.decide import (
    START_TIMEOUT,
    PoolMemory,
    PoolStep,
    PoolView,
    build_pool_status,
    decide_pool,
    diagnose_pool,
    next_creation_at,
)
from voice_operator.pools.pod_template import build_agent_pod, build_template, hash_template
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.settings import Keys, OperatorSettings
from voice_operator.work_queue import WorkQueue
from voicesession import clock
from voicesession.conditions import ConditionType, Reason, with_condition
from voicesession.models import AgentPool, AgentPoolStatus, AgentProfile, AgentProfileStatus
from voicesession.names import AGENT_POOLS, AGENT_PROFILES
from voicesession.serving import Problem, choose_provider, pool_for

log = logging.getLogger(__name__)

# A status is for people: no more often than this, in seconds.
STATUS_INTERVAL = 5.0
# Deciding on thousands of pods takes milliseconds: rest for so many times as long before the next time.
REST_FACTOR = 50
REST_FACTOR_WHILE_CALLS_WAIT = 10
# More requests at once would only be told by the API server to come later. The rest follows.
DELETIONS_AT_ONCE = 50
# While calls wait, a starting pod is asked this often whether it is ready, in seconds.
PROBE_INTERVAL = 0.05


@dataclass
class _Pool:
    """What is remembered of one pool."""

    memory: PoolMemory = field(default_factory=PoolMemory)
    template: str = ""
    counted: set[str] = field(default_factory=set)  # uids of failed pods that were counted
    trouble: Trouble | None = None  # while calls wait
    status_written_at: float = float("-inf")
    decided_at: float = float("-inf")
    deciding: float = 0.0  # seconds that it took


class PoolReconciler:
    """Reconciles AgentPools and the status of AgentProfiles."""

    def __init__(
        self,
        *,
        settings: OperatorSettings,
        keys: Keys,
        cache: Cache,
        ready_pods: ReadyPods,
        kubernetes: KubernetesApi,
        pods: PodClient,
        queue: WorkQueue[Key],
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._cache = cache
        self._ready = ready_pods
        self._kubernetes = kubernetes
        self._pods = pods
        self._queue = queue
        self._pools: dict[str, _Pool] = {}
        self._templates: dict[str, tuple[str, int, str]] = {}
        self._profile_status_at: dict[str, float] = {}
        self._probes: dict[str, asyncio.Task[None]] = {}  # by pod uid

    async def close(self) -> None:
        """Ends what runs beside the reconciliation."""
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)

    def template_of(self, pool: AgentPool) -> str:
        """Returns the hash of what a pod of this pool would be made of now."""
        metadata = pool.metadata
        held = self._templates.get(metadata.name)
        if held is None or held[:2] != (metadata.uid, metadata.generation):
            template = build_template(
                pool, self._keys.public_pem, self._settings.agent_database_secret, self._settings.log_level
            )
            held = (metadata.uid, metadata.generation, hash_template(template))
            self._templates[metadata.name] = held
        return held[2]

    def trouble_of(self, pool: AgentPool) -> Trouble | None:
        """Returns why this pool's pods do not come up though calls wait for them, or None."""
        held = self._pools.get(pool.metadata.name)
        return held.trouble if held else None

    async def reconcile_pool(self, name: str) -> None:
        """Creates and deletes pods of this pool as decided, and tells how it stands."""
        pool = self._cache.pools.get(name)
        if pool is None or pool.metadata.deletion_timestamp:
            self._forget(name)
            return
        held = self._pools.setdefault(name, _Pool())
        now = time.monotonic()
        rest = self._rests_until(name, held) - now
        if rest > 0:
            self._queue.add_after(Key(Kind.POOL, name), rest)
            return
        self._count_failures(pool, held)
        step = decide_pool(self._observe(pool))
        held.memory = step.memory
        deciding = time.monotonic() - now
        await self._act(pool, held, step)
        if self._ready.count_waiting(name):
            self._probe_starting(name)
        if step.look_again_at:
            self._queue.add_after(Key(Kind.POOL, name), (step.look_again_at - clock.now()).total_seconds() + 0.01)
        acted = time.monotonic()
        view = self._observe(pool)
        held.trouble = diagnose_pool(view) if view.waiting else None
        status = build_pool_status(view)
        held.decided_at = time.monotonic()
        held.deciding = deciding + held.decided_at - acted
        await self._write_pool_status(name, held, status)

    def _rests_until(self, name: str, held: _Pool) -> float:
        """Returns until when this pool is left alone, by the monotonic clock."""
        factor = REST_FACTOR_WHILE_CALLS_WAIT if self._ready.count_waiting(name) else REST_FACTOR
        return held.decided_at + factor * held.deciding

    def _observe(self, pool: AgentPool) -> PoolView:
        name = pool.metadata.name
        return PoolView(
            pool=pool,
            template=self.template_of(pool),
            pods=self._cache.pods.by("pool", name),
            answering=frozenset(self._ready.answering),
            reserved=frozenset(self._ready.reserved),
            waiting=self._ready.count_waiting(name),
            memory=self._pools.get(name, _Pool()).memory,
            now=clock.now(),
        )

    def _forget(self, name: str) -> None:
        self._pools.pop(name, None)
        self._templates.pop(name, None)
        for state in ("ready", "starting", "in-use"):
            POOL_PODS.remove(name, state)
        POOL_WAITING.remove(name)

    def _count_failures(self, pool: AgentPool, held: _Pool) -> None:
        template = self.template_of(pool)
        if held.template != template:
            held.template, held.memory = template, PoolMemory()
        view = self._observe(pool)
        broken = [pod for pod in view.failed if pod.template == template and pod.uid not in held.counted]
        for pod in broken:
            held.counted.add(pod.uid)
            self._count_failure(pool, held, pod.exit.detail if pod.exit else "")
        held.counted &= {pod.uid for pod in view.pods}

    def _count_failure(self, pool: AgentPool, held: _Pool, detail: str) -> None:
        POOL_FAILED.labels(pool.metadata.name).inc()
        held.memory = replace(held.memory, failures=held.memory.failures + 1, last_failure_at=clock.now())
        log.warning("pool %s: a pod failed before it had a call: %s", pool.metadata.name, detail)

    async def _act(self, pool: AgentPool, held: _Pool, step: PoolStep) -> None:
        doomed = step.delete[:DELETIONS_AT_ONCE]
        latest_start = clock.now() - START_TIMEOUT
        for pod in doomed:
            if pod.exit is None and pod.running_since and pod.running_since <= latest_start and not pod.ready:
                self._count_failure(pool, held, f"not ready after {START_TIMEOUT.total_seconds():.0f} s")
        await asyncio.gather(*(self._delete(pod) for pod in doomed))
        if step.create:
            await self._create(pool, held, step.create)

    async def _create(self, pool: AgentPool, held: _Pool, count: int) -> None:
        body = build_agent_pod(
            pool, self._keys.public_pem, self._settings.agent_database_secret, self._settings.log_level
        )
        results = await asyncio.gather(
            *(self._kubernetes.create_pod(body) for _ in range(count)), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                continue
            self._cache.pods.put(result)
            POOL_CREATED.labels(pool.metadata.name).inc()
        self._take_errors(pool, held, [result for result in results if isinstance(result, BaseException)])

    def _take_errors(self, pool: AgentPool, held: _Pool, errors: list[BaseException]) -> None:
        if not errors:
            held.memory = replace(held.memory, creation_error=None, refusals=0, refused_at=None)
            return
        error = errors[0]
        if not isinstance(error, KubernetesError):
            raise error
        quota = isinstance(error, ForbiddenError) and "quota" in error.message
        trouble = Trouble(Reason.QUOTA_EXCEEDED if quota else Reason.POD_CREATION_FAILED, error.message)
        now = clock.now()
        held.memory = replace(held.memory, creation_error=trouble, refusals=held.memory.refusals + 1, refused_at=now)
        log.warning("pool %s: a pod could not be created: %s", pool.metadata.name, error.message)
        retry_at = next_creation_at(held.memory)
        if retry_at:
            self._queue.add_after(Key(Kind.POOL, pool.metadata.name), (retry_at - now).total_seconds() + 0.01)

    async def _delete(self, pod: AgentPod) -> None:
        # A call may have claimed it between the decision and now.
        held = self._cache.pods.get(pod.name)
        if held is None or held.uid != pod.uid or held.claimed or pod.uid in self._ready.reserved:
            return
        # Off the shelf, so that no call claims a pod that is about to go.
        self._ready.reserve(pod)
        try:
            # Only as we see it: another operator may have claimed it meanwhile.
            raw = await self._kubernetes.delete_pod(pod.name, pod.uid, pod.resource_version)
        except NotFoundError:
            self._cache.pods.remove(pod.name, pod.uid)
        except ConflictError:
            self._queue.add_after(Key(Kind.POOL, pod.pool), 1.0)  # its event is on the way
        else:
            if raw.get("kind") == "Pod" and raw["metadata"].get("deletionGracePeriodSeconds"):
                self._cache.pods.put(raw)
            else:
                self._cache.pods.remove(pod.name, pod.uid)
        finally:
            self._ready.release(pod)

    # Cold starts

    def _probe_starting(self, pool: str) -> None:
        """Asks starting pods themselves: the kubelet would ask once a second only, and tell later still."""
        for pod in self._cache.pods.by("starting-pool", pool):
            if pod.ip and not pod.ready and pod.uid not in self._ready.answering and pod.uid not in self._probes:
                self._probes[pod.uid] = asyncio.create_task(self._probe(pod), name=f"probe-{pod.name}")

    async def _probe(self, pod: AgentPod) -> None:
        deadline = time.monotonic() + START_TIMEOUT.total_seconds()
        try:
            while time.monotonic() < deadline and self._is_worth_probing(pod):
                if await self._pods.is_ready(pod):
                    self._ready.answered(pod)
                    for call in self._ready.head_of_line(pod.pool):
                        self._queue.add(Key(Kind.CALL, call.uid))
                    return
                await asyncio.sleep(PROBE_INTERVAL)
        finally:
            del self._probes[pod.uid]

    def _is_worth_probing(self, pod: AgentPod) -> bool:
        held = self._cache.pods.get(pod.name)
        waited_for = self._ready.count_waiting(pod.pool) > 0
        return waited_for and held is not None and held.uid == pod.uid and held.warm and not held.ready

    # Status

    async def _write_pool_status(self, name: str, held: _Pool, status: AgentPoolStatus) -> None:
        for state, value in (("ready", status.ready), ("starting", status.starting), ("in-use", status.in_use)):
            POOL_PODS.labels(name, state).set(value)
        POOL_WAITING.labels(name).set(status.waiting)
        newest = self._cache.pools.get(name)
        if newest is None or status == newest.status:
            return
        wait = held.status_written_at + STATUS_INTERVAL - time.monotonic()
        if wait > 0:
            self._queue.add_after(Key(Kind.POOL, name), wait)
            return
        held.status_written_at = time.monotonic()
        await self._patch_status(AGENT_POOLS, newest, status)

    async def reconcile_profile(self, name: str) -> None:
        """Tells how many calls a profile has, and whether they can be served."""
        profile = self._cache.profiles.get(name)
        if profile is None:
            self._profile_status_at.pop(name, None)
            return
        status = self._build_profile_status(profile)
        if status == profile.status:
            return
        wait = self._profile_status_at.get(name, float("-inf")) + STATUS_INTERVAL - time.monotonic()
        if wait > 0:
            self._queue.add_after(Key(Kind.PROFILE, name), wait)
            return
        self._profile_status_at[name] = time.monotonic()
        await self._patch_status(AGENT_PROFILES, profile, status)

    def _build_profile_status(self, profile: AgentProfile) -> AgentProfileStatus:
        problem = find_profile_problem(profile, self._cache)
        return AgentProfileStatus(
            active_sessions=self._cache.sessions.count("live-profile", profile.metadata.name),
            observed_generation=profile.metadata.generation,
            conditions=with_condition(
                profile.status.conditions,
                ConditionType.READY,
                "False" if problem else "True",
                problem.reason if problem else Reason.REFERENCES_FOUND,
                problem.message if problem else "Its pool and provider exist.",
                clock.now(),
            ),
        )

    async def _patch_status(
        self, plural: str, object_: AgentPool | AgentProfile, status: AgentPoolStatus | AgentProfileStatus
    ) -> None:
        metadata = object_.metadata
        try:
            raw = await self._kubernetes.patch_status(
                plural, metadata.name, metadata.resource_version, status.to_wire()
            )
        except NotFoundError:
            return
        except ConflictError as error:
            # It has changed meanwhile, and its event is on the way.
            raise KubernetesUnavailableError(str(error)) from error
        store = self._cache.pools if plural == AGENT_POOLS else self._cache.profiles
        store.put(raw)


def find_profile_problem(profile: AgentProfile, cache: Cache) -> Problem | None:
    """Returns why calls of this profile cannot be served, or None."""
    for local_mode in (False, True) if profile.spec.local_pool else (False,):
        name = pool_for(profile, local_mode)
        pool = cache.pools.get(name)
        if pool is None:
            return Problem(Reason.POOL_MISSING, f"There is no AgentPool {name!r}. Create it, or name another.")
        provider = choose_provider(pool, profile, None, local_mode=local_mode)
        if isinstance(provider, Problem):
            return provider
    return None
