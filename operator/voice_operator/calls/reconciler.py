"""Brings one call forward: observe, decide, act, until there is nothing left but to wait."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import assert_never

from voice_operator.calls.agents import Agents
from voice_operator.calls.claim import Claims
from voice_operator.calls.closing import Closing, End
from voice_operator.calls.collecting import Collecting
from voice_operator.calls.decide import decide_call
from voice_operator.calls.hand_over import Move
from voice_operator.calls.incidents import Incidents
from voice_operator.calls.links import Links
from voice_operator.calls.memory import CallMemory
from voice_operator.calls.observe import World, observe
from voice_operator.calls.room import CallRooms
from voice_operator.calls.session_writer import Outcome, SessionWriter
from voice_operator.calls.steps import (
    Act,
    AskEnd,
    AskForPod,
    AskHandOver,
    AskLiveKit,
    Begin,
    Claim,
    CloseConversation,
    CloseRoom,
    Collect,
    Complete,
    ConfirmGone,
    Connect,
    ConnectStandby,
    Dismiss,
    Expire,
    Finish,
    Forget,
    GiveBack,
    JoinLine,
    LeaveLine,
    Lose,
    MakeRoom,
    Moved,
    Number,
    ReadBack,
    ReadPods,
    Rest,
    Retire,
    Step,
    TakeOver,
    TellCause,
    TellLate,
    TellOtherAgent,
    TellRefusal,
    WriteStatus,
)
from voice_operator.keys import Key, Kind
from voice_operator.metrics import PODS_ORPHANED, RECONCILE_ERRORS
from voice_operator.pools.waiting_line import Waiter
from voice_operator.work_queue import WorkQueue
from voice_operator.write_through import WriteThrough
from voicesession import clock
from voicesession.conditions import Reason, is_agent_at_work
from voicesession.models import EndReason, VoiceSession, VoiceSessionStatus

log = logging.getLogger(__name__)

# Far more than any life of a call has steps: beyond it two decisions contradict each other.
_MAX_STEPS = 40
# Then the call is left alone for so long, unless something happens to it.
_STUCK_SECONDS = 60.0


def kind_of(step: Act) -> Kind:
    """Returns in which lane this step is taken: one that may wait for LiveKit, or for a pod, in that of its own."""
    match step:
        case MakeRoom() | TellRefusal() | CloseRoom():
            return Kind.ROOM
        case AskEnd() | Dismiss() | Retire() | Collect() | AskHandOver() | TakeOver() | TellLate() | GiveBack():
            return Kind.POD
        case _:
            return Kind.CALL


class Reconciler:
    """Reconciles calls. An act is given what is remembered of its call, and returns what is to be remembered of it."""

    def __init__(
        self,
        *,
        world: World,
        claims: Claims,
        agents: Agents,
        rooms: CallRooms,
        sessions: SessionWriter,
        closing: Closing,
        collecting: Collecting,
        links: Links,
        incidents: Incidents,
        kubernetes: WriteThrough,
        queue: WorkQueue[Key],
    ) -> None:
        self._world = world
        self._calls = world.calls
        self._ready = world.ready_pods
        self._claims = claims
        self._agents = agents
        self._rooms = rooms
        self._sessions = sessions
        self._closing = closing
        self._collecting = collecting
        self._links = links
        self._incidents = incidents
        self._kubernetes = kubernetes
        self._queue = queue
        self._having_it: dict[str, set[Kind]] = {}  # by uid: who came while somebody was at the call
        self._taken: dict[str, list[str]] = {}  # by uid: the steps since the call was at rest, or one had failed

    async def reconcile_call(self, uid: str) -> None:
        """Brings the call of this VoiceSession as far as it can be brought now.

        Raises:
            KubernetesUnavailableError: an act had no answer; to be retried.
        """
        with self._having(uid, Kind.CALL) as has_it:
            if has_it:
                await self._step_until_at_rest(uid)

    async def reconcile_room(self, uid: str) -> None:
        """Takes the step of a call that needs LiveKit, if that is the next.

        Raises:
            LiveKitUnavailableError: it had no answer; to be retried.
        """
        await self._take_one_step(uid, Kind.ROOM)

    async def reconcile_pod(self, uid: str) -> None:
        """Takes the step of a call that speaks to a pod, if that is the next.

        Raises:
            KubernetesUnavailableError: it had no answer; to be retried.
        """
        await self._take_one_step(uid, Kind.POD)

    @contextlib.contextmanager
    def _having(self, uid: str, kind: Kind) -> Iterator[bool]:
        """Tells whether nobody else is at this call; who is has it looked at again afterwards."""
        missed = self._having_it.get(uid)
        if missed is not None:
            missed.add(kind)
            yield False
            return
        missed = self._having_it[uid] = set()
        try:
            yield True
        finally:
            del self._having_it[uid]
            for each in missed:
                self._queue.add(Key(each, uid))

    async def _step_until_at_rest(self, uid: str) -> None:
        while len(self._taken.get(uid, ())) < _MAX_STEPS:
            memory, step = self._decide(uid)
            match step:
                case Rest(until):
                    self._taken.pop(uid, None)
                    if until:
                        self._queue.add_after(Key(Kind.CALL, uid), (until - clock.steady()).total_seconds())
                    return
                case Forget():
                    self._forget(uid)
                    return
            kind = kind_of(step)
            if kind is not Kind.CALL:
                self._queue.add_unless_failed(Key(kind, uid))
                return
            await self._take(memory, step)
        self._leave_alone(uid, self._taken.pop(uid)[-1])

    def _forget(self, uid: str) -> None:
        self._taken.pop(uid, None)
        self._agents.forget(uid)
        self._sessions.forget(uid)
        self._incidents.forget(uid)
        self._calls.forget(uid)

    def _leave_alone(self, uid: str, step: str) -> None:
        """Two decisions contradict each other: looking again at once would only go round in circles."""
        log.error("the call does not come to rest", extra={"step": step})
        RECONCILE_ERRORS.labels(Kind.CALL.value).inc()
        session = self._world.cache.find_session(uid)
        if session:
            self._sessions.tell_stuck(session, step)
        self._queue.add_after(Key(Kind.CALL, uid), _STUCK_SECONDS)

    async def _take_one_step(self, uid: str, kind: Kind) -> None:
        with self._having(uid, kind) as has_it:
            if not has_it or self._calls.get(uid) is None:
                return
            try:
                memory, step = self._decide(uid)
                if not isinstance(step, Rest | Forget) and kind_of(step) is kind:
                    await self._take(memory, step)
            finally:
                # Also where another step is the next by now: who waits to try this one again sets no other alarm.
                self._queue.add(Key(Kind.CALL, uid))

    def _decide(self, uid: str) -> tuple[CallMemory, Step]:
        now = clock.steady()
        memory, link = self._calls.meet(uid, now), self._links.view_of(uid)
        view = observe(
            self._world,
            memory,
            link,
            now,
            clock.wall_ahead(),
            beside=self._links.beside(uid),
            cut_off=self._links.cut_off,
            lost_node=self._links.lost_node,
        )
        if view.session:
            self._sessions.see(view.session)
        return self._calls.keep(view.memory), decide_call(view)

    async def _take(self, memory: CallMemory, step: Act) -> None:
        name = type(step).__name__
        log.debug("a step is taken", extra={"step": name})
        self._taken.setdefault(memory.uid, []).append(name)
        try:
            self._calls.keep(await self._act(memory, step))
        except BaseException:  # also where its time is over
            self._taken.pop(memory.uid, None)  # it is tried again after a while, which is no circle
            raise

    async def _act(self, memory: CallMemory, step: Act) -> CallMemory:  # noqa: PLR0911, PLR0912 - one line for each step
        match step:
            case Begin():
                return replace(memory, begun=True)
            case MakeRoom():
                return await self._rooms.make(memory, step)
            case JoinLine():
                return self._join_line(memory, step)
            case LeaveLine(pool):
                return self._leave_line(memory, pool)
            case AskForPod(pool):
                return self._ask_for_pod(memory, pool)
            case Number(session, status, claims):
                written = await self._write(memory, session, status)
                return replace(written, numbered=claims, claims=claims) if written else memory
            case Claim():
                return await self._claim(memory, step)
            case ReadBack(pod_name):
                return await self._claims.read_back(memory, pod_name)
            case ReadPods():
                return await self._read_pods(memory)
            case Connect():
                return self._agents.connect(memory, step)
            case ConnectStandby():
                return self._agents.connect_standby(memory, step)
            case AskHandOver():
                return await self._agents.ask_hand_over(memory, step)
            case TakeOver():
                return await self._agents.take_over(memory, step)
            case TellLate():
                return await self._agents.tell_late(memory, step)
            case GiveBack():
                return await self._agents.give_back(memory, step)
            case Moved():
                return await self._note_moved(memory, step)
            case AskLiveKit():
                return self._agents.look_for(memory)
            case TellOtherAgent(session, identity):
                self._sessions.tell_other_agent(session, identity)
                return replace(memory, other_agent_told=True)
            case AskEnd():
                return await self._agents.ask_end(memory, step)
            case Dismiss():
                return await self._agents.dismiss(memory, step)
            case TellRefusal():
                return await self._rooms.tell(memory, step)
            case CloseRoom():
                return await self._rooms.close(memory, step)
            case TellCause(session, attempt, death):
                self._sessions.tell_cause(session, death)
                return replace(memory, cause_told=attempt)
            case Retire(pod):
                await self._agents.end_quietly(pod, EndReason.SUPERSEDED)
                return await self._collecting.collect(memory, Collect(pod, is_ending=True))
            case Collect():
                return await self._collecting.collect(memory, step)
            case CloseConversation(reason):
                return self._close_conversation(memory, reason)
            case WriteStatus(session, status):
                return await self._write(memory, session, status) or memory
            case Lose():
                return await self._lose(memory, step)
            case Finish():
                return await self._finish(memory, step)
            case Complete():
                return await self._complete(memory, step)
            case ConfirmGone(name):
                await self._kubernetes.refresh_session(name, memory.uid)
                if self._world.cache.sessions.is_gone(memory.uid):
                    PODS_ORPHANED.inc(self._world.cache.pods.count("session", memory.uid))
            case Expire(session):
                await self._kubernetes.delete_session(session)
            case _:
                assert_never(step)
        return memory

    async def _write(self, memory: CallMemory, session: VoiceSession, status: VoiceSessionStatus) -> CallMemory | None:
        """Writes a status; one that is refused is kept in mind, and the call goes on by it. None: look again."""
        match await self._sessions.write(session, status):
            case Outcome.WRITTEN:
                held = self._world.cache.find_session(memory.uid)
                # The CRDs of an older release drop what they do not know: else the same loss would be found again.
                is_whole = held is None or held.status.lost_attempt == status.lost_attempt
                return replace(memory, unwritten=None if is_whole else status)
            case Outcome.REFUSED:
                return replace(memory, unwritten=status)
            case Outcome.CHANGED:
                return None

    async def _claim(self, memory: CallMemory, step: Claim) -> CallMemory:
        claimed = await self._claims.claim(memory, step)
        if claimed.claim_refusal and not memory.claim_refusal:
            self._incidents.tell_claim_refused(memory, claimed.claim_refusal.message)
        return claimed

    async def _note_moved(self, memory: CallMemory, step: Moved) -> CallMemory:
        written = await self._write(memory, step.session, step.status)
        if written is None:
            return memory
        move = memory.move
        self._sessions.tell_moved(step.session, step.status, move, step.joined_at)
        return replace(written, move=Move(told_at=move.told_at, late=move.late))

    def _join_line(self, memory: CallMemory, step: JoinLine) -> CallMemory:
        pool, turn = step.pool, None if step.afresh else memory.turn
        waiter = Waiter(memory.uid, memory.profile, memory.arrival, memory.tenant, turn)
        if memory.move.trigger:
            self._incidents.tell_moving(memory)
            self._queue.add(Key(Kind.POOL, pool))  # which counts who stands in line
        return replace(memory, turn=self._ready.join_line(pool, waiter).turn)

    def _leave_line(self, memory: CallMemory, pool: str) -> CallMemory:
        self._ready.leave_line(memory.uid)
        self._queue.add(Key(Kind.POOL, pool))  # it wants one pod less
        return memory

    def _ask_for_pod(self, memory: CallMemory, pool: str) -> CallMemory:
        self._queue.add(Key(Kind.POOL, pool))  # which counts who stands in line
        return replace(memory, waited=True)

    async def _read_pods(self, memory: CallMemory) -> CallMemory:
        await self._kubernetes.refresh_pods_of(memory.uid)
        return replace(memory, pods_read=True)

    async def _lose(self, memory: CallMemory, step: Lose) -> CallMemory:
        written = await self._write(memory, step.session, step.status)
        if written and step.node:
            is_lost = step.status.reason == Reason.NODE_LOST
            (self._ready.lose if is_lost else self._ready.suspect)(step.node)
        return written or memory

    async def _finish(self, memory: CallMemory, step: Finish) -> CallMemory:
        session = step.session
        has_customer = session.spec.room is not None or session.status.agent_joined_at is not None
        untold = step.refusal if has_customer and not memory.room_closed else None
        # Before it is written: the customer is told also where the answer is lost.
        memory = self._calls.keep(replace(memory, untold=untold))
        written = await self._write(memory, step.session, step.status)
        if written is None:
            return memory
        if is_agent_at_work(step.status.conditions):
            return written
        return self._settle(written, step)

    async def _complete(self, memory: CallMemory, step: Complete) -> CallMemory:
        written = await self._write(memory, step.session, step.status)
        # What it holds, and itself, is kept as long as that of a call which is over now.
        return self._settle(replace(written, finished_at=clock.steady()), step) if written else memory

    def _settle(self, memory: CallMemory, step: Finish | Complete) -> CallMemory:
        self._links.cancel(memory.uid)
        if step.closes:
            end = End(memory.claims, step.status.end_reason or EndReason.ERROR, step.status.ended_at)
            self._closing.close(memory.uid, end)
        return replace(memory, conversation_settled=True)

    def _close_conversation(self, memory: CallMemory, reason: EndReason) -> CallMemory:
        self._closing.close(memory.uid, End(memory.claims, reason, clock.now()))
        return replace(memory, conversation_settled=True)
