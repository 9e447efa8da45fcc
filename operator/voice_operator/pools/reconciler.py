"""Keeps each AgentPool at its number of waiting pods, and its status true."""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from kube.client import ConflictError, KubernetesError, ServerError
from kube.refusals import is_quota
from voice_operator.cache import Cache
from voice_operator.keys import Key, Kind
from voice_operator.label_names import POOLS
from voice_operator.metrics import POOL_CREATED, POOL_FAILED
from voice_operator.pods.agent_pod import AgentPod, Trouble
from voice_operator.pools.decide import (
    START_TIMEOUT,
    PoolMemory,
    PoolStep,
    PoolView,
    build_pool_status,
    decide_pool,
    diagnose_pool,
    find_stuck,
    next_creation_at,
)
from voice_operator.pools.probes import Probes
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.pools.status_writer import StatusWriter
from voice_operator.pools.stuck_pods import StuckPods
from voice_operator.pools.templates import Templates
from voice_operator.work_queue import WorkQueue
from voice_operator.write_through import WriteThrough
from voicesession import clock
from voicesession.conditions import Reason
from voicesession.models import AgentPool, AgentPoolStatus

log = logging.getLogger(__name__)

# Deciding on thousands of pods takes milliseconds: rest for so many times as long before the next time.
REST_FACTOR = 50
REST_FACTOR_WHILE_CALLS_WAIT = 10
# More requests at once would only be told by the API server to come later. The rest follows.
DELETIONS_AT_ONCE = 50


@dataclass
class _Pool:
    """What is remembered of one pool."""

    memory: PoolMemory = field(default_factory=PoolMemory)
    template: str = ""
    counted: set[str] = field(default_factory=set)  # uids of failed pods that were counted
    decided_at: float = float("-inf")
    deciding: float = 0.0  # seconds that it took


class PoolReconciler:
    """Reconciles AgentPools."""

    def __init__(
        self,
        *,
        cache: Cache,
        ready_pods: ReadyPods,
        templates: Templates,
        kubernetes: WriteThrough,
        probes: Probes,
        stuck: StuckPods,
        statuses: StatusWriter,
        queue: WorkQueue[Key],
        own_accounts: Iterable[str] = (),
    ) -> None:
        """`own_accounts`: ServiceAccounts that no agent pod may be."""
        self.troubles: dict[str, Trouble] = {}  # why pods do not come up, by pool, while calls wait for them
        self._cache = cache
        self._ready = ready_pods
        self._templates = templates
        self._kubernetes = kubernetes
        self._probes = probes
        self._stuck = stuck
        self._statuses = statuses
        self._queue = queue
        self._own_accounts = frozenset(own_accounts)
        self._pools: dict[str, _Pool] = {}

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
        step = decide_pool(self._observe(pool, held))
        held.memory = step.memory
        deciding = time.monotonic() - now
        await self._act(pool, held, step)
        if self._ready.count_waiting(name):
            self._probes.probe_starting(name)
        if step.look_again_at:
            self._queue.add_after(Key(Kind.POOL, name), (step.look_again_at - clock.steady()).total_seconds() + 0.01)
        await self._ask_about_stuck(pool, held)
        acted = time.monotonic()
        view = self._observe(pool, held)
        self._note_trouble(view)
        status = build_pool_status(view)
        held.decided_at = time.monotonic()
        held.deciding = deciding + held.decided_at - acted
        await self._write_status(name, status)

    def _rests_until(self, name: str, held: _Pool) -> float:
        """Returns until when this pool is left alone, by the monotonic clock."""
        factor = REST_FACTOR_WHILE_CALLS_WAIT if self._ready.count_waiting(name) else REST_FACTOR
        return held.decided_at + factor * held.deciding

    def _observe(self, pool: AgentPool, held: _Pool) -> PoolView:
        name = pool.metadata.name
        return PoolView(
            pool=pool,
            template=self._templates.hash_of(pool),
            pods=self._cache.pods.by("pool", name),
            answering=frozenset(self._ready.answering),
            reserved=frozenset(self._ready.reserved),
            waiting=self._ready.count_waiting(name),
            own_accounts=self._own_accounts,
            stuck_trouble=self._stuck.trouble_of(name),
            memory=held.memory,
            now=clock.steady(),
            wall_ahead=clock.wall_ahead(),
        )

    async def _ask_about_stuck(self, pool: AgentPool, held: _Pool) -> None:
        name = pool.metadata.name
        again = await self._stuck.ask(name, find_stuck(self._observe(pool, held)))
        if again:
            self._queue.add_after(Key(Kind.POOL, name), again)

    def _note_trouble(self, view: PoolView) -> None:
        name = view.pool.metadata.name
        trouble = diagnose_pool(view) if view.waiting else None
        if trouble:
            self.troubles[name] = trouble
        else:
            self.troubles.pop(name, None)

    def _forget(self, name: str) -> None:
        self._pools.pop(name, None)
        self.troubles.pop(name, None)
        self._templates.forget(name)
        self._statuses.forget(name)
        self._stuck.forget(name)
        self._ready.forget(name)

    def _count_failures(self, pool: AgentPool, held: _Pool) -> None:
        template = self._templates.hash_of(pool)
        if held.template != template:
            held.template, held.memory = template, PoolMemory()
        view = self._observe(pool, held)
        broken = [pod for pod in view.failed if pod.template == template and pod.uid not in held.counted]
        for pod in broken:
            held.counted.add(pod.uid)
            self._count_failure(pool, held, pod.exit.detail if pod.exit else "")
        held.counted &= {pod.uid for pod in view.pods}

    def _count_failure(self, pool: AgentPool, held: _Pool, detail: str) -> None:
        POOL_FAILED.labels(*POOLS.bound(pool.metadata.name)).inc()
        held.memory = replace(held.memory, failures=held.memory.failures + 1, last_failure_at=clock.steady())
        log.warning("a pod failed before it had a call", extra={"detail": detail})

    async def _act(self, pool: AgentPool, held: _Pool, step: PoolStep) -> None:
        doomed = step.delete[:DELETIONS_AT_ONCE]
        now = clock.steady()
        for pod in doomed:
            if (
                pod.exit is None
                and pod.running_seen_at
                and now >= pod.running_seen_at + START_TIMEOUT
                and not pod.ready
            ):
                self._count_failure(pool, held, f"not ready after {START_TIMEOUT.total_seconds():.0f} s")
        await asyncio.gather(*(self._delete(pod) for pod in doomed))
        if step.create:
            await self._create(pool, held, step.create)

    async def _create(self, pool: AgentPool, held: _Pool, count: int) -> None:
        body = self._templates.build_pod(pool)
        results = await asyncio.gather(
            *(self._kubernetes.create_pod(body) for _ in range(count)), return_exceptions=True
        )
        errors = [result for result in results if result is not None]
        POOL_CREATED.labels(*POOLS.bound(pool.metadata.name)).inc(count - len(errors))
        self._take_errors(pool, held, errors)

    def _take_errors(self, pool: AgentPool, held: _Pool, errors: list[BaseException]) -> None:
        if not errors:
            held.memory = replace(held.memory, creation_error=None, refusals=0, refused_at=None)
            return
        error = errors[0]
        if not isinstance(error, KubernetesError | ServerError):
            raise error
        # A server's failure is most often an admission webhook's: it says which, and until it is back there is no pod.
        reason = Reason.QUOTA_EXCEEDED if is_quota(error) else Reason.POD_CREATION_FAILED
        trouble = Trouble(reason, error.words)
        told = held.memory.creation_error
        if told is None or told.reason is not trouble.reason:  # it is tried again and again
            log.warning("a pod could not be created", extra={"error": error})
        now = clock.steady()
        held.memory = replace(held.memory, creation_error=trouble, refusals=held.memory.refusals + 1, refused_at=now)
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
            await self._kubernetes.delete_pod(pod, if_unchanged=True)
        except ConflictError:
            self._queue.add_after(Key(Kind.POOL, pod.pool), 1.0)  # its event is on the way
        finally:
            self._ready.release(pod)

    async def _write_status(self, name: str, status: AgentPoolStatus) -> None:
        newest = self._cache.pools.get(name)
        if newest:
            await self._statuses.write(newest, status)
