"""What is known of one call at this moment, put together for a decision. Pure: looks at everything, changes nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from voice_operator.cache import Cache
from voice_operator.calls.assignment import own_room_name
from voice_operator.calls.hand_over import Move, Trigger, find_trigger
from voice_operator.calls.memory import CallMemory, Calls, learn, note_losses, recall
from voice_operator.calls.steps import NO_SESSION, CallView, Terms, choose_pod, find_carriers, is_end_wanted
from voice_operator.pods.agent_pod import Trouble
from voice_operator.pods.link_view import LinkView
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.seen_rooms import SeenRooms
from voicesession import clock
from voicesession.admission import is_finished
from voicesession.conditions import Reason
from voicesession.models import AgentPool, VoiceSession
from voicesession.serving import Problem, Serving, resolve_serving

# A VoiceSession without a time of creation is the youngest.
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class World:
    """Where to look. `troubles`: why the pods of a pool do not start, by its name, while calls wait for them."""

    cache: Cache
    calls: Calls
    ready_pods: ReadyPods
    troubles: Mapping[str, Trouble]
    terms: Terms
    absent_agents: Mapping[str, datetime]  # when LiveKit said that it does not see a call's agent, by uid
    rooms: SeenRooms
    room_key: bytes = field(repr=False)  # from which the names of the operator's own rooms are made
    hash_of: Callable[[AgentPool], str] = lambda _: ""  # what a pool's pods are made of now


def observe(
    world: World,
    memory: CallMemory,
    link: LinkView | None,
    now: datetime,
    wall_ahead: timedelta = timedelta(0),
    *,
    beside: LinkView | None = None,
    cut_off: bool = False,
    lost_node: str | None = None,
) -> CallView:
    """Returns the view of one call; the memory in it has all that was learned by this look.

    `link`, `beside`: as the view has them. `now`: by the steady clock. `wall_ahead`: of the wall's clock before it.
    `cut_off`, `lost_node`: as `Links` says.
    """
    cache, uid = world.cache, memory.uid
    session = cache.find_session(uid)
    if session and memory.unwritten:
        session = session.model_copy(update={"status": memory.unwritten})
    if session:
        memory = _note_session(world, memory, session, now, wall_ahead)
    known_deleted = session is None and cache.sessions.is_gone(uid)
    if known_deleted and memory.gone_at is None:
        memory = replace(memory, gone_at=now)
    # How a pod ends that was given up, superseded for example, is not how the call ends.
    pods = [pod for pod in cache.pods.by("session", uid) if pod.live or pod.uid not in memory.lost_pods]
    links = [each for each in (link, beside) if each]
    memory = learn(memory, choose_pod(find_carriers(pods, session, memory.move, links), link), link)
    highest = max((pod.attempt for pod in pods), default=0)
    if highest > memory.claims:
        memory = replace(memory, claims=highest)  # of a pod that stands by, whoever has claimed it
    agent_absent = _is_absent(world, uid, link)
    if agent_absent != (memory.attempt.absent_at is not None):
        attempt = replace(memory.attempt, absent_at=now if agent_absent else None)
        memory = replace(memory, attempt=attempt)
    serving = resolve_serving(session.spec, cache.profiles.get, cache.pools.get) if session else NO_SESSION
    if session and isinstance(serving, Serving) and memory.longest is None:
        memory = replace(memory, longest=timedelta(seconds=serving.limits.max_duration_seconds))
    sid = world.rooms.sid_of(memory.room, memory.arrived_at)
    if sid and memory.room_sid and sid != memory.room_sid:
        memory = replace(memory, room_sid=sid)  # LiveKit was restarted
    line = world.ready_pods.line_of(uid)
    trigger = _find_trigger(world, memory, session, serving)
    memory = _note_trigger(memory, trigger, now)
    return CallView(
        now=now,
        wall_ahead=wall_ahead,
        memory=memory,
        terms=world.terms,
        session=session,
        known_deleted=known_deleted,
        unreadable=cache.sessions.is_unreadable(uid),
        serving=serving,
        pods=pods,
        link=link,
        beside=beside,
        trigger=trigger,
        fresh_pod=trigger is Trigger.OUTDATED and _has_fresh_pod(world, serving),
        cut_off=cut_off,
        lost_node=lost_node,
        agent_absent=agent_absent,
        room_missing_since=world.rooms.missing_since(memory.room, memory.arrived_at),
        rival=_find_rival(world, memory, session),
        limit=_find_limit(world, session, serving) if session and not memory.begun else None,
        line=line,
        pod_available=line is not None and world.ready_pods.has_pod_for(uid),
        trouble=world.troubles.get(line) if line is not None else None,
    )


def _find_trigger(
    world: World, memory: CallMemory, session: VoiceSession | None, serving: Serving | Problem
) -> Trigger | None:
    pod = memory.last_pod
    if session is None or pod is None or not memory.attempt.accepted or isinstance(serving, Problem):
        return None
    return find_trigger(pod, session, serving.pool, world.hash_of(serving.pool))


def _note_trigger(memory: CallMemory, trigger: Trigger | None, now: datetime) -> CallMemory:
    move = memory.move
    if trigger is move.trigger or move.told_to:
        return memory
    return replace(memory, move=replace(move, trigger=trigger, wanted_at=move.wanted_at or now) if trigger else Move())


def _has_fresh_pod(world: World, serving: Serving | Problem) -> bool:
    """Tells whether the next ready pod would be an up-to-date one: else a call would move for nothing."""
    if isinstance(serving, Problem):
        return False
    ready, template = world.ready_pods.list_ready(serving.pool.metadata.name), world.hash_of(serving.pool)
    return not ready or any(pod.template == template for pod in ready)


def _is_absent(world: World, uid: str, link: LinkView | None) -> bool:
    # What LiveKit said of an earlier silence tells nothing of this one.
    missed_at = world.absent_agents.get(uid)
    return missed_at is not None and link is not None and missed_at >= link.since


def _note_session(
    world: World, memory: CallMemory, session: VoiceSession, now: datetime, wall_ahead: timedelta
) -> CallMemory:
    """Returns the memory with what its VoiceSession says; since when, at first sight by its stamps, then by ours."""
    uid, status = memory.uid, session.status
    if not memory.name:
        room = session.spec.room or own_room_name(world.room_key, uid)
        has_pods, inherited = world.cache.pods.count("session", uid) > 0, uid in world.calls.inherited
        memory = recall(memory, session, room, has_pods=has_pods, inherited=inherited)
        if is_finished(session):
            memory = replace(memory, finished_at=clock.at_first_sight(status.ended_at, now, wall_ahead))
        if status.agent_joined_at:
            memory = replace(memory, talks_since=clock.at_first_sight(status.agent_joined_at, now, wall_ahead))
    memory = note_losses(memory, status, now)
    if memory.finished_at is None and is_finished(session):
        memory = replace(memory, finished_at=now)
    if memory.end_wanted_at is None and is_end_wanted(session):
        memory = replace(memory, end_wanted_at=now)
    return memory


def _find_rival(world: World, memory: CallMemory, session: VoiceSession | None) -> str | None:
    """Returns the name of the VoiceSession that has the right to the same room, if it is another one."""
    room = session.spec.room if session else memory.room
    if not room:
        return None
    others = [other for other in world.cache.sessions.by("live-room", room) if other.metadata.uid != memory.uid]
    if not others:
        return None
    first = min(others, key=lambda other: _room_rank(world, other))
    if session is None or is_finished(session) or _room_rank(world, first) < _room_rank(world, session):
        return first.metadata.name
    return None


def _room_rank(world: World, session: VoiceSession) -> tuple[bool, datetime, str]:
    uid = session.metadata.uid
    memory = world.calls.get(uid)
    has_pod = world.cache.pods.count("session", uid) > 0
    may_have_one = memory is not None and memory.unanswered_claim is not None
    return room_rank(session, bound=has_pod or may_have_one or session.status.agent_joined_at is not None)


def room_rank(session: VoiceSession, *, bound: bool) -> tuple[bool, datetime, str]:
    """Returns by what calls for the same room are ordered; the least has it.

    Who has a pod, or had an agent, or may have a pod in this moment, stays; else the oldest. Creation times are whole
    seconds, so the uid may have to decide.
    """
    metadata = session.metadata
    return (not bound, metadata.creation_timestamp or _NEVER, metadata.uid)


def _find_limit(world: World, session: VoiceSession, serving: Serving | Problem) -> Problem | None:
    """Returns which limit the call would exceed if it began now."""
    if isinstance(serving, Problem):
        return None
    allowed = serving.profile.spec.max_sessions
    name = session.spec.profile
    if allowed is not None and _count_begun(world, "live-profile", name) >= allowed:
        return Problem(
            Reason.LIMIT_REACHED,
            f"AgentProfile {name!r} has its {allowed} calls. Try again later, or raise its `spec.maxSessions`.",
        )
    tenant, allowed = session.spec.tenant or "", world.terms.admission.tenant_max_sessions
    if allowed is not None and _count_begun(world, "live-tenant", tenant) >= allowed:
        who = f"Tenant {tenant!r} has its" if tenant else "Calls without a tenant have their"
        return Problem(Reason.LIMIT_REACHED, f"{who} {allowed} calls. Try again later.")
    return None


def _count_begun(world: World, index: str, key: str) -> int:
    memories = (world.calls.get(other.metadata.uid) for other in world.cache.sessions.by(index, key))
    return sum(1 for memory in memories if memory and memory.begun)
