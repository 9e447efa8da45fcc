"""Shows how things stand as they are scraped: calls, pools and agents by the leader alone, so that sums are true."""

import collections
from collections.abc import Iterable, Mapping
from datetime import datetime

from voice_operator.agent_metrics import MEMORY_BYTES, MEMORY_MAX_BYTES, UNWRITTEN_ROWS
from voice_operator.cache import Cache
from voice_operator.keys import Kind
from voice_operator.label_names import POOLS, PROFILES
from voice_operator.metrics import (
    AGENTS_LOST,
    LEADING,
    LIVEKIT,
    LONGEST_WAIT_SECONDS,
    LOST_WEBHOOK,
    POOL_FAILED,
    POOL_MINIMUM,
    POOL_PODS,
    POOL_READY,
    POOL_WAITING,
    QUEUE_DEPTH,
    RECONCILE_ERRORS,
    ROOMS_POLLED,
    SESSIONS,
    UNDELIVERED_ROWS,
    UNREADABLE,
    WAITING,
)
from voicesession import clock
from voicesession.assignment import Heartbeat
from voicesession.conditions import ConditionType, Reason, find_condition
from voicesession.models import AgentPool, Phase, VoiceSession

# Of the whole installation: a standby shows none of them.
_LEADERS = (
    SESSIONS,
    WAITING,
    LONGEST_WAIT_SECONDS,
    POOL_PODS,
    POOL_WAITING,
    POOL_MINIMUM,
    POOL_READY,
    MEMORY_BYTES,
    MEMORY_MAX_BYTES,
)
# What an agent is lost by; see `deaths`.
_LOSSES = (
    Reason.AGENT_CRASHED,
    Reason.AGENT_HUNG,
    Reason.EVICTED,
    Reason.NODE_LOST,
    Reason.OUT_OF_MEMORY,
    Reason.POD_DELETED,
)
_UNDER_WAY = {Phase.PENDING, Phase.STARTING, Phase.RECOVERING}


def show_state(
    cache: Cache, heartbeats: Iterable[tuple[str, Heartbeat]], depths: Mapping[Kind, int], *, leading: bool
) -> None:
    """Brings the gauges up to date. `heartbeats`: the last of each agent in a call, with its pool."""
    LEADING.set(leading)
    _show_zeros()
    for plural, store in cache.stores.items():
        UNREADABLE.labels(plural).set(len(store.unreadable))
    for kind, depth in depths.items():
        QUEUE_DEPTH.labels(kind.value).set(depth)
    for gauge in _LEADERS:
        gauge.clear()
    if leading:
        sessions = cache.sessions.all()
        _show_phases(sessions, [profile.metadata.name for profile in cache.profiles.all()])
        _show_waiting(sessions, clock.now())
        _show_pools(cache.pools.all())
        _show_agents(heartbeats)
    else:
        LIVEKIT.clear()
        UNDELIVERED_ROWS.set(0)
        UNWRITTEN_ROWS.set(0)


def _show_zeros() -> None:
    """Shows what was not counted yet: Prometheus sees no increase where a counter comes with its first count."""
    for kind in Kind:
        RECONCILE_ERRORS.labels(kind.value)
    for reason in _LOSSES:
        AGENTS_LOST.labels(reason.value)
    ROOMS_POLLED.labels(LOST_WEBHOOK)


def _show_phases(sessions: Iterable[VoiceSession], profiles: Iterable[str]) -> None:
    counts = collections.Counter((PROFILES.bound(each.spec.profile), _phase_of(each)) for each in sessions)
    for profile in {PROFILES.bound(name) for name in profiles} | {profile for profile, _ in counts}:
        for phase in Phase:
            SESSIONS.labels(*profile, phase.value).set(counts[profile, phase])


def _show_waiting(sessions: Iterable[VoiceSession], now: datetime) -> None:
    waits: dict[str, list[float]] = {Reason.WAITING_FOR_POD.value: []}
    for session in sessions:
        if _phase_of(session) in _UNDER_WAY:
            # Without one it has just come.
            reason = session.status.reason or Reason.WAITING_FOR_POD.value
            since = _waits_since(session) or now
            waits.setdefault(reason, []).append(max(0.0, (now - since).total_seconds()))
    for reason, seconds in waits.items():
        WAITING.labels(reason).set(len(seconds))
        LONGEST_WAIT_SECONDS.labels(reason).set(max(seconds, default=0.0))


def _show_pools(pools: Iterable[AgentPool]) -> None:
    for pool in pools:
        name, status = POOLS.bound(pool.metadata.name), pool.status
        for state, count in (("ready", status.ready), ("starting", status.starting), ("in-use", status.in_use)):
            POOL_PODS.labels(*name, state).inc(count)
        POOL_WAITING.labels(*name).inc(status.waiting)
        POOL_MINIMUM.labels(*name).inc(pool.spec.warm.min)
        POOL_FAILED.labels(*name)
        if ready := find_condition(status.conditions, ConditionType.READY):
            POOL_READY.labels(*name, ready.reason).set(ready.status == "True")


def _show_agents(heartbeats: Iterable[tuple[str, Heartbeat]]) -> None:
    unwritten = 0
    held: dict[tuple[str, ...], list[int]] = {}
    for pool, heartbeat in heartbeats:
        unwritten += heartbeat.unwritten_items
        held.setdefault(POOLS.bound(pool), []).append(heartbeat.memory_bytes or 0)
    UNWRITTEN_ROWS.set(unwritten)
    for name, sizes in held.items():
        MEMORY_BYTES.labels(*name).set(sum(sizes))
        MEMORY_MAX_BYTES.labels(*name).set(max(sizes))


def _phase_of(session: VoiceSession) -> Phase:
    """Returns the session's phase; one that the operator has not looked at yet has just come."""
    return session.status.phase or Phase.PENDING


def _waits_since(session: VoiceSession) -> datetime | None:
    joined = find_condition(session.status.conditions, ConditionType.AGENT_JOINED)
    if session.status.phase is Phase.RECOVERING and joined:
        return joined.last_transition_time
    return session.metadata.creation_timestamp
