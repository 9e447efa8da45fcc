"""How many pods a pool shall create and which it shall delete now, and how it stands. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from voice_operator.pods.agent_pod import AgentPod, Trouble, find_start_refusal, find_trouble
from voicesession.conditions import ConditionType, Reason, with_condition
from voicesession.models import AgentPool, AgentPoolStatus, Warm
from voicesession.names import POOL_LABEL, STATE_LABEL, WARM

# A pod that was ready and answers no more is replaced after this.
UNREADY_GRACE = timedelta(seconds=10)
# A pod whose process runs and that is not ready by then is replaced.
START_TIMEOUT = timedelta(seconds=120)
# A pod that has had a node for so long and no container is asked about: its status does not say why.
STUCK_AFTER = timedelta(seconds=2)
# Being ready for so long ends a row of failures.
STABLE = timedelta(seconds=10)
# Pods that fail before they have a call: the next is created after 1 s, 2 s, 4 s, ... this.
MAX_BACKOFF = timedelta(minutes=5)
CRASH_LOOP = 3
# Creations that the API server refuses: tried again after 1 s, 2 s, 4 s, ... this. A quota is free from one call to
# the next.
MAX_REFUSAL_BACKOFF = timedelta(seconds=15)
# A claimed pod is replaced after this: the start of another would take the CPU just while its agent joins and greets.
REFILL_DELAY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class PoolMemory:
    """What a pool's history adds to its pods."""

    failures: int = 0  # in a row, of the present template
    last_failure_at: datetime | None = None
    surplus_since: datetime | None = None  # more pods than the target, without a break
    creation_error: Trouble | None = None  # the API server's refusal of the last creation
    refusals: int = 0  # of creations, in a row
    refused_at: datetime | None = None


@dataclass(frozen=True)
class PoolView:
    """Everything that a decision about one pool depends on."""

    pool: AgentPool
    template: str  # hash of what a pod would be made of now
    pods: Sequence[AgentPod]
    now: datetime  # by the steady clock
    wall_ahead: timedelta = timedelta(0)  # what is added to it for what is written
    answering: frozenset[str] = frozenset()  # uids of pods that answered the operator, whatever the kubelet says
    reserved: frozenset[str] = frozenset()  # uids of pods that are being claimed this moment
    waiting: int = 0  # calls without a pod
    own_accounts: frozenset[str] = frozenset()  # ServiceAccounts with rights that no agent may have
    stuck_trouble: Trouble | None = None  # what the kubelet says of the pod that `find_stuck` returns
    memory: PoolMemory = field(default_factory=PoolMemory)

    def is_ready(self, pod: AgentPod) -> bool:
        """Tells whether this pod could take a call."""
        return pod.warm and pod.understood and (pod.ready or pod.uid in self.answering)

    @cached_property
    def warm(self) -> list[AgentPod]:
        """Returns the pods that wait, or will wait, for a call."""
        return [pod for pod in self.pods if pod.warm and pod.uid not in self.reserved]

    @cached_property
    def in_use(self) -> int:
        """Returns how many pods have a call."""
        return sum(1 for pod in self.pods if pod.uid in self.reserved or (pod.claimed and pod.live))

    @cached_property
    def failed(self) -> list[AgentPod]:
        """Returns the pods that ended before they had a call, newest first."""
        ended = [pod for pod in self.pods if not pod.claimed and pod.exit and not pod.deleting]
        return sorted(ended, key=lambda pod: pod.created_at, reverse=True)


@dataclass(frozen=True, slots=True)
class PoolStep:
    """What to do now, and when to look again."""

    create: int = 0
    delete: tuple[AgentPod, ...] = ()
    memory: PoolMemory = field(default_factory=PoolMemory)
    look_again_at: datetime | None = None


def decide_pool(view: PoolView) -> PoolStep:
    """Returns how many pods to create, and which to delete."""
    memory = _remember(view)
    wanted = target(view.pool.spec.warm, view.in_use, view.waiting)
    broken = [pod for pod in view.warm if _is_broken(view, pod)]
    gone = {pod.uid for pod in broken}
    healthy = [pod for pod in view.warm if pod.template == view.template and pod.uid not in gone]
    outdated = [pod for pod in view.warm if pod.template != view.template and pod.uid not in gone]

    retry_at = next_creation_at(memory)
    refill_at = _refill_times(view)
    create = 0
    if find_refusal(view) is None and (retry_at is None or view.now >= retry_at):
        starting = sum(1 for pod in healthy if not view.is_ready(pod))
        missing = wanted - len(healthy) - len(refill_at)
        create = max(0, min(missing, view.pool.spec.warm.max_starting - starting))
        if memory.failures >= CRASH_LOOP or memory.creation_error:
            create = min(create, 1)  # one more try; the rest when it is ready

    surplus, memory = _decide_surplus(view, healthy, wanted, memory)
    replaced = _decide_rolling(view, outdated, healthy, wanted)
    failed = _decide_failed(view, memory)
    again = [retry_at] if retry_at and view.now < retry_at else []
    again += [*refill_at, *_deadlines(view, memory)]
    return PoolStep(
        create=create,
        delete=(*failed, *broken, *replaced, *surplus),
        memory=memory,
        look_again_at=min(again, default=None),
    )


def target(warm: Warm, in_use: int, waiting: int) -> int:
    """Returns how many pods without a call there shall be: one for each waiter, and those that wait for the next."""
    return min(warm.max, max(warm.min, _buffer(warm.buffer, in_use))) + waiting


def _buffer(buffer: int | str, in_use: int) -> int:
    if isinstance(buffer, int):
        return buffer
    return math.ceil(in_use * int(buffer.removesuffix("%")) / 100)


def next_creation_at(memory: PoolMemory) -> datetime | None:
    """Returns the moment before which no pod is created, after failures; None where nothing failed."""
    moments = []
    if memory.failures and memory.last_failure_at:
        moments.append(memory.last_failure_at + min(MAX_BACKOFF, _backoff(memory.failures)))
    if memory.refusals and memory.refused_at:
        moments.append(memory.refused_at + min(MAX_REFUSAL_BACKOFF, _backoff(memory.refusals)))
    return max(moments, default=None)


def _backoff(count: int) -> timedelta:
    return timedelta(seconds=2 ** min(count - 1, 16))


def _refill_times(view: PoolView) -> list[datetime]:
    """Returns when the pods that are claimed just now are to be replaced; at once while calls wait."""
    if view.waiting:
        return []
    since = view.now - REFILL_DELAY
    claims = [pod.claim_seen_at for pod in view.pods if pod.claim_seen_at and pod.claim_seen_at > since and pod.live]
    claims += [view.now for pod in view.pods if pod.uid in view.reserved]
    return [claimed_at + REFILL_DELAY for claimed_at in claims]


def _remember(view: PoolView) -> PoolMemory:
    """Forgets failures once a pod that came up after them has stayed ready, or has got a call.

    One from before proves nothing: what makes the others fail may have changed since.
    """
    last = view.memory.last_failure_at
    if last is None or not any(_is_proof(view, pod, last) for pod in view.pods):
        return view.memory
    return replace(view.memory, failures=0, last_failure_at=None)


def _is_proof(view: PoolView, pod: AgentPod, last_failure_at: datetime) -> bool:
    if not pod.live or pod.template != view.template:
        return False
    if pod.claimed:
        return pod.seen_at is not None and pod.seen_at > last_failure_at
    return _is_stable(view, pod) and pod.ready_seen_at is not None and pod.ready_seen_at > last_failure_at


def _is_stable(view: PoolView, pod: AgentPod) -> bool:
    return pod.ready and pod.ready_seen_at is not None and view.now >= pod.ready_seen_at + STABLE


def _is_broken(view: PoolView, pod: AgentPod) -> bool:
    if pod.ready or pod.running_since is None or pod.running_seen_at is None:
        return False
    changed = pod.ready_changed_at
    was_ready = changed is not None and changed > pod.running_since  # both by its kubelet's clock
    if was_ready and pod.ready_seen_at and view.now >= pod.ready_seen_at + UNREADY_GRACE:
        return True
    return view.now >= pod.running_seen_at + START_TIMEOUT


def _decide_surplus(
    view: PoolView, healthy: list[AgentPod], wanted: int, memory: PoolMemory
) -> tuple[list[AgentPod], PoolMemory]:
    """Returns pods beyond the target, once there were too many for the pool's delay."""
    extra = len(healthy) - wanted
    if extra <= 0:
        return [], _with_surplus(memory, None)
    since = memory.surplus_since or view.now
    if view.now < since + timedelta(seconds=view.pool.spec.warm.scale_down_delay_seconds):
        return [], _with_surplus(memory, since)
    # Those that are not ready are no loss; of the others the youngest have the longest to live.
    order = sorted(healthy, key=lambda pod: (view.is_ready(pod), -pod.created_at.timestamp()))
    return order[:extra], _with_surplus(memory, since)


def _with_surplus(memory: PoolMemory, since: datetime | None) -> PoolMemory:
    return replace(memory, surplus_since=since)


def _decide_rolling(view: PoolView, outdated: list[AgentPod], current: list[AgentPod], wanted: int) -> list[AgentPod]:
    """Returns the outdated pods that may go now: as many as pods of the present template are ready in their place.

    Where there is no room beside the old ones, one makes room: the pool is one short at most, and the last stays.
    """
    unready = [pod for pod in outdated if not view.is_ready(pod)]
    ready = sorted((pod for pod in outdated if view.is_ready(pod)), key=lambda pod: pod.created_at)
    fresh = [pod for pod in current if view.is_ready(pod)]
    able = len(ready) + len(fresh)
    spare = able - wanted
    if _lacks_room(view, current):
        spare = max(spare, able - max(1, wanted - 1))
    return unready + ready[: max(0, spare)]


def _lacks_room(view: PoolView, current: list[AgentPod]) -> bool:
    """Tells whether pods of the present template are kept out by the cluster's size or a quota, not by themselves."""
    trouble = view.memory.creation_error or find_trouble(current)
    return trouble is not None and trouble.reason in {Reason.UNSCHEDULABLE, Reason.QUOTA_EXCEEDED}


def _decide_failed(view: PoolView, memory: PoolMemory) -> list[AgentPod]:
    """Returns the ended pods to delete: all but the newest, whose logs tell why, until the failures are over."""
    return view.failed[1:] if memory.failures else view.failed


def _deadlines(view: PoolView, memory: PoolMemory) -> list[datetime]:
    """Returns when waiting alone will change the decision."""
    moments = []
    if memory.surplus_since:
        moments.append(memory.surplus_since + timedelta(seconds=view.pool.spec.warm.scale_down_delay_seconds))
    for pod in view.warm:
        if memory.failures and pod.ready and pod.ready_seen_at:
            moments.append(pod.ready_seen_at + STABLE)
        if _has_no_container(pod):
            moments.append(_first_seen(pod) + STUCK_AFTER)
        if pod.running_seen_at and not pod.ready:
            changed = pod.ready_seen_at or pod.running_seen_at
            moments += [changed + UNREADY_GRACE, pod.running_seen_at + START_TIMEOUT]
    return [moment for moment in moments if moment > view.now]


def find_stuck(view: PoolView) -> AgentPod | None:
    """Returns the oldest pod that has a node and, for too long, no container and no trouble that its status tells."""
    stuck = (pod for pod in view.warm if _has_no_container(pod) and view.now >= _first_seen(pod) + STUCK_AFTER)
    return min(stuck, key=lambda pod: pod.created_at, default=None)


def _has_no_container(pod: AgentPod) -> bool:
    return pod.node is not None and pod.running_since is None and not pod.ready and pod.trouble is None


def _first_seen(pod: AgentPod) -> datetime:
    return pod.seen_at or pod.created_at


def find_refusal(view: PoolView) -> Trouble | None:
    """Returns why no pod of this pool is ever created, or None."""
    account = view.pool.spec.pod.service_account_name
    if account not in view.own_accounts:
        return None
    message = f"pod.serviceAccountName is {account!r}, one of the release's own: its rights are for no agent."
    return Trouble(Reason.POD_CONFIG_INVALID, message)


def diagnose_pool(view: PoolView) -> Trouble | None:
    """Returns why this pool's pods do not come up, or None."""
    return find_refusal(view) or _find_failure(view)


def _find_failure(view: PoolView) -> Trouble | None:
    ready = sum(1 for pod in view.warm if view.is_ready(pod) and pod.template == view.template)
    if ready and ready >= target(view.pool.spec.warm, view.in_use, view.waiting):
        return None
    for pod in view.failed:
        refusal = find_start_refusal(pod)
        if refusal is not None and pod.template == view.template:
            return refusal
    if view.memory.creation_error:
        return view.memory.creation_error
    trouble = find_trouble(view.pods) or view.stuck_trouble or _find_eviction(view)
    if trouble:
        return trouble
    if view.memory.failures >= CRASH_LOOP:
        detail = next((pod.exit.detail for pod in view.failed if pod.exit), "see the pods' logs")
        return Trouble(
            Reason.CRASH_LOOPING, f"{view.memory.failures} pods in a row ended before they were ready: {detail}."
        )
    return None


def _find_eviction(view: PoolView) -> Trouble | None:
    """Returns what the node of the last pod that failed was short of, if it was."""
    last = next(iter(view.failed), None)
    return Trouble(Reason.EVICTED, last.exit.detail) if last and last.exit and last.evicted else None


def build_pool_status(view: PoolView) -> AgentPoolStatus:
    """Returns the pool's status as it is now."""
    warm = view.warm
    ready = sum(1 for pod in warm if view.is_ready(pod))
    wanted = target(view.pool.spec.warm, view.in_use, view.waiting)
    trouble = diagnose_pool(view)
    if trouble:
        status, reason, message = "False", trouble.reason, trouble.message
    elif ready >= wanted:
        status, reason, message = "True", Reason.PODS_WAITING, f"{ready} pods wait for a call."
    else:
        status, reason, message = "False", Reason.PODS_STARTING, f"{ready} of {wanted} pods wait for a call."
    return AgentPoolStatus(
        replicas=len(warm),
        ready=ready,
        starting=len(warm) - ready,
        in_use=view.in_use,
        waiting=view.waiting,
        selector=f"{POOL_LABEL}={view.pool.metadata.name},{STATE_LABEL}={WARM}",
        observed_generation=view.pool.metadata.generation,
        conditions=with_condition(
            view.pool.status.conditions,
            ConditionType.READY,
            "True" if status == "True" else "False",
            reason,
            message[:1024],
            view.now + view.wall_ahead,
        ),
    )
