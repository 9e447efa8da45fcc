"""Brings one call forward: observe, decide, act, until there is nothing left but to wait."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from kube.client import (
    ConflictError,
    InvalidError,
    KubernetesApi,
    KubernetesError,
    KubernetesUnavailableError,
    NotFoundError,
    Raw,
)
from rooms.client import LiveKitUnavailableError, RoomClient
from rooms.tokens import RoomTokens
from voice_operator.cache import Cache
from voice_operator.calls.assignment import build_assignment, build_claim, own_room_name
from voice_operator.calls.decide import (
    WORTH_TELLING,
    Admit,
    AskEnd,
    AskLiveKit,
    CallView,
    Claim,
    CloseRoom,
    ConfirmGone,
    Connect,
    Dismiss,
    Expire,
    Finish,
    Forget,
    MakeRoom,
    ReadBack,
    ReadPods,
    Rest,
    Step,
    WriteStatus,
    choose_pod,
    decide_call,
    room_rank,
)
from voice_operator.calls.memory import Call, Calls
from voice_operator.events import EventRecorder
from voice_operator.keys import Key, Kind
from voice_operator.livekit_address import LiveKitAddress
from voice_operator.metrics import CLAIM_CONFLICTS, CLAIM_SECONDS, JOINED_SECONDS, PODS_LOST, SESSIONS_FINISHED
from voice_operator.pods.agent_pod import AgentPod, Trouble
from voice_operator.pods.client import PodClient, PodRequestError
from voice_operator.pods.link import PodLink
from voice_operator.pods.link_view import LinkState
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.pools.templates import Templates
from voice_operator.pools.waiting_line import Waiter
from voice_operator.settings import Keys, OperatorSettings
from voice_operator.work_queue import WorkQueue
from voicesession import clock
from voicesession.admission import is_finished
from voicesession.conditions import ConditionType, Reason, find_condition
from voicesession.customer_words import build_notice, words_for_customer
from voicesession.models import EndReason, Phase, VoiceSession, VoiceSessionStatus
from voicesession.names import VOICE_SESSIONS
from voicesession.serving import Problem, Serving, resolve_serving
from voicesession.tickets import new_ticket

log = logging.getLogger(__name__)

# Far more than any life of a call has steps: beyond it two decisions contradict each other.
_MAX_STEPS = 40


class StuckError(Exception):
    """A call that takes step after step without coming to rest."""


class Reconciler:
    """Reconciles calls. Everything it shares is given to it; it owns only the links to the calls' pods."""

    def __init__(
        self,
        *,
        settings: OperatorSettings,
        keys: Keys,
        cache: Cache,
        calls: Calls,
        ready_pods: ReadyPods,
        kubernetes: KubernetesApi,
        pods: PodClient,
        rooms: RoomClient,
        events: EventRecorder,
        queue: WorkQueue[Key],
        templates: Templates,
        troubles: Mapping[str, Trouble],
        close_books: Callable[[str, EndReason], None],
        livekit: LiveKitAddress,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._cache = cache
        self._calls = calls
        self._ready = ready_pods
        self._kubernetes = kubernetes
        self._pods = pods
        self._rooms = rooms
        self._tokens = RoomTokens(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
        self._events = events
        self._queue = queue
        self._templates = templates
        self._troubles = troubles
        self._close_books = close_books
        self._livekit = livekit
        self._no_pod_timeout = timedelta(seconds=settings.no_pod_timeout_seconds)

    async def close(self) -> None:
        """Stops following all calls; their pods go on."""
        for call in self._calls:
            if call.link:
                await call.link.close()

    async def reconcile_call(self, uid: str) -> None:
        """Brings the call of this VoiceSession as far as it can be brought now."""
        for _ in range(_MAX_STEPS):
            view = self._observe(uid)
            step = decide_call(view)
            if isinstance(step, Rest):
                if step.until:
                    self._queue.add_after(Key(Kind.CALL, uid), (step.until - clock.now()).total_seconds())
                return
            log.debug("call %s: %s", uid, type(step).__name__)
            await self._act(self._calls.meet(uid, view.session, view.now), view, step)
            if isinstance(step, Forget):
                return
        raise StuckError(f"call {uid} does not come to rest after {_MAX_STEPS} steps; the last was {step}")

    # Observe

    def _observe(self, uid: str) -> CallView:
        now = clock.now()
        session = self.find_session(uid)
        call = self._calls.meet(uid, session, now)
        if session and not call.name:
            self._recall(call, session)
        # How a pod ends that was dismissed, superseded for example, is not how the call ends.
        pods = [pod for pod in self._cache.pods.by("session", uid) if pod.live or pod.uid not in call.lost_pods]
        pod = choose_pod(pods, ended=call.link.pod.uid if call.link and call.link.view.ended else None)
        if pod:
            call.last_pod = pod
            call.claims = max(call.claims, pod.attempt)
        if call.link:
            call.accepted = call.accepted or call.link.view.accepted
            joined = call.link.view.joined
            call.room_sid = call.room_sid or (joined.room_sid if joined else None)
        serving = self._resolve(session)
        rival = self._find_rival(session)
        available = False
        if self._stands_in_line(call, session, pods, serving, rival) and isinstance(serving, Serving):
            available = self._join_line(call, serving.pool.metadata.name)
        else:
            self._leave_line(call)
        return CallView(
            uid=uid,
            now=now,
            arrived_at=call.arrived_at,
            room_made_at=call.room_made_at,
            session=session,
            known_deleted=call.known_deleted,
            serving=serving,
            pods=pods,
            last_pod=call.last_pod,
            link=call.link.view if call.link else None,
            rival=rival,
            admitted=call.admitted,
            limit=None if call.admitted or session is None else self._find_limit(session, serving),
            room=call.room,
            room_is_ours=session is not None and session.spec.room is None,
            room_closed=call.room_closed,
            livekit_error=call.livekit_error,
            doubtful_claim=call.doubtful_claim,
            claim_refusal=call.claim_refusal,
            claim_refused_at=call.claim_refused_at,
            pod_available=available,
            waited=call.waited,
            trouble=self._find_trouble(call, serving, now),
            claims=call.claims,
            accepted=call.accepted,
            pods_read=call.pods_read,
            agent_absent=call.agent_absent,
            asked_livekit_at=call.asked_livekit_at,
            end_asked_at=call.end_asked_at,
            no_pod_timeout=self._no_pod_timeout,
            admission=self._settings.admission_limits,
        )

    def _join_line(self, call: Call, pool: str) -> bool:
        if self._ready.line_of(call.uid) != pool:
            self._ready.leave_line(call.uid)
            call.turn = self._ready.join_line(pool, Waiter(call.uid, call.profile, call.arrival, call.turn)).turn
        available = self._ready.has_pod_for(call.uid)
        if not available and not call.waited:
            call.waited = True
            self._queue.add(Key(Kind.POOL, pool))  # one more pod is wanted
        return available

    def _leave_line(self, call: Call) -> None:
        pool = self._ready.line_of(call.uid)
        if pool:
            self._queue.add(Key(Kind.POOL, pool))  # one less
            self._ready.leave_line(call.uid)

    def find_session(self, uid: str) -> VoiceSession | None:
        """Returns the VoiceSession of this uid, or None."""
        return next(iter(self._cache.sessions.by("uid", uid)), None)

    def _recall(self, call: Call, session: VoiceSession) -> None:
        """Sets what follows from the objects alone, of a call that another process may have begun."""
        call.name, call.profile = session.metadata.name, session.spec.profile
        call.room = session.spec.room or own_room_name(self._keys.conversation, call.uid)
        call.room_sid = session.status.room_sid or session.spec.room_sid
        call.claims = session.status.attempts or 0
        call.room_closed = is_finished(session)
        if session.status.phase is Phase.FAILED and session.status.attempts:
            # The process that finished it may have died before it closed the books; doing it twice changes nothing.
            self._close_books(call.uid, session.status.end_reason or EndReason.ERROR)
        bound = find_condition(session.status.conditions, ConditionType.POD_BOUND)
        has_pods = self._cache.pods.count("session", call.uid) > 0
        call.admitted = has_pods or (bound is not None and bound.status == "True")

    def _resolve(self, session: VoiceSession | None) -> Serving | Problem | None:
        if session is None:
            return None
        return resolve_serving(session.spec, self._cache.profiles.get, self._cache.pools.get)

    def _stands_in_line(
        self,
        call: Call,
        session: VoiceSession | None,
        pods: list[AgentPod],
        serving: Serving | Problem | None,
        rival: str | None,
    ) -> bool:
        if session is None or is_finished(session) or rival or not call.admitted or not isinstance(serving, Serving):
            return False
        has_room = session.spec.room is not None or call.room_made_at is not None
        return has_room and not any(pod.live for pod in pods) and not call.doubtful_claim

    def _find_rival(self, session: VoiceSession | None) -> str | None:
        """Returns the name of the VoiceSession that has the right to the same room, if it is another one."""
        if session is None or session.spec.room is None:
            return None
        others = self._cache.sessions.by("live-room", session.spec.room)
        others = [other for other in others if other.metadata.uid != session.metadata.uid]
        if not others:
            return None
        first = min(others, key=self._room_rank)
        if is_finished(session) or self._room_rank(first) < self._room_rank(session):
            return first.metadata.name
        return None

    def _room_rank(self, session: VoiceSession) -> tuple[bool, datetime, str]:
        uid = session.metadata.uid
        call = self._calls.get(uid)
        has_pod = self._cache.pods.count("session", uid) > 0
        return room_rank(session, bound=has_pod or bool(call and call.claiming))

    def _find_trouble(self, call: Call, serving: Serving | Problem | None, now: datetime) -> Trouble | None:
        """Returns why the pool of a call that has waited for a while does not come up."""
        if (
            self._ready.line_of(call.uid) is None
            or not isinstance(serving, Serving)
            or now < call.arrived_at + WORTH_TELLING
        ):
            return None
        return self._troubles.get(serving.pool.metadata.name)

    def _find_limit(self, session: VoiceSession, serving: Serving | Problem | None) -> Problem | None:
        """Returns which limit the call would exceed if it began now."""
        if not isinstance(serving, Serving):
            return None
        allowed = serving.profile.spec.max_sessions
        name = session.spec.profile
        if allowed is not None and self._count_admitted("live-profile", name) >= allowed:
            return Problem(
                Reason.LIMIT_REACHED,
                f"AgentProfile {name!r} has its {allowed} calls. Try again later, or raise its `spec.maxSessions`.",
            )
        tenant, allowed = session.spec.tenant, self._settings.tenant_max_sessions
        if tenant and allowed is not None and self._count_admitted("live-tenant", tenant) >= allowed:
            return Problem(Reason.LIMIT_REACHED, f"Tenant {tenant!r} has its {allowed} calls. Try again later.")
        return None

    def _count_admitted(self, index: str, key: str) -> int:
        calls = (self._calls.get(other.metadata.uid) for other in self._cache.sessions.by(index, key))
        return sum(1 for call in calls if call and call.admitted)

    # Act

    async def _act(self, call: Call, view: CallView, step: Step) -> None:
        session = view.session
        match step:
            case Forget():
                self._forget(call)
            case ConfirmGone(name):
                await self._confirm_gone(call, name)
            case Dismiss(pods, reason, lost):
                await self._dismiss(call, pods, reason, lost=lost)
            case CloseRoom():
                await self._close_room(call)
            case ReadBack(pod_name):
                await self._read_back(call, pod_name)
            case ReadPods():
                await self._read_pods(call)
            case AskLiveKit():
                await self._ask_livekit(call)
            case AskEnd(pod, reason):
                await self._ask_end(call, pod, reason)
            case Admit():
                call.admitted = True
            case _ if session is not None:
                await self._act_on_session(call, view, session, step)

    async def _act_on_session(self, call: Call, view: CallView, session: VoiceSession, step: Step) -> None:
        match step:
            case WriteStatus(status):
                await self._write_status(call, session, status)
            case Finish():
                await self._finish(call, session, step)
            case MakeRoom():
                await self._make_room(call, session, view)
            case Claim(attempt):
                await self._claim(call, session, view, attempt)
            case Connect(pod):
                self._connect(call, session, view, pod)
            case Expire():
                await self._expire(session)

    async def _claim(self, call: Call, session: VoiceSession, view: CallView, attempt: int) -> None:
        assert isinstance(view.serving, Serving)  # noqa: S101 - a claim is decided for a serving pool only
        pool = view.serving.pool
        pod = self._ready.reserve_for(call.uid, pool.metadata.name, self._templates.hash_of(pool))
        if pod is None:
            return
        call.claiming = True
        try:
            raw = await self._kubernetes.patch_pod(pod.name, build_claim(pod, session, attempt, clock.now()))
            self._cache.pods.put(raw)
        except NotFoundError:
            CLAIM_CONFLICTS.inc()
            self._cache.pods.remove(pod.name, pod.uid)
        except (ConflictError, InvalidError) as error:
            CLAIM_CONFLICTS.inc()
            log.info("pod %s cannot be claimed: %s", pod.name, error.message)
            await self._refresh_pod(pod.name, pod.uid)
            held = self._cache.pods.get(pod.name)
            if held and held.uid == pod.uid and held.warm:
                self._note_refusal(call, error)  # it was not the pod that had changed
        except KubernetesUnavailableError:
            call.doubtful_claim = pod.name
            raise
        except KubernetesError as error:
            self._note_refusal(call, error)
        else:
            call.claimed_here = pod.uid
            call.claims = attempt
            call.claim_refusal = call.claim_refused_at = None
            seconds = (clock.now() - call.arrived_at).total_seconds()
            CLAIM_SECONDS.labels(view.start_type.value).observe(seconds)
        finally:
            call.claiming = False
            self._ready.release(pod)

    @staticmethod
    def _note_refusal(call: Call, error: KubernetesError) -> None:
        call.claim_refusal, call.claim_refused_at = error.message, clock.now()
        log.error("call %s: its claim was refused: %s", call.name, error.message)

    async def _refresh_pod(self, name: str, uid: str) -> None:
        """Replaces what the cache says of a pod by what the API server says now."""
        try:
            raw = await self._kubernetes.get_pod(name)
        except NotFoundError:
            self._cache.pods.remove(name, uid)
            return
        self._cache.pods.put(raw)
        if raw["metadata"]["uid"] != uid:
            self._cache.pods.remove(name, uid)

    async def _read_back(self, call: Call, pod_name: str) -> None:
        pod = self._cache.pods.get(pod_name)
        if pod:
            await self._refresh_pod(pod_name, pod.uid)
        call.doubtful_claim = None

    async def _read_pods(self, call: Call) -> None:
        for raw in await self._kubernetes.list_pods_of(call.uid):
            self._cache.pods.put(raw)
        call.pods_read = True

    def _connect(self, call: Call, session: VoiceSession, view: CallView, pod: AgentPod) -> None:
        assignment = None
        if isinstance(view.serving, Serving):
            assignment = build_assignment(
                session,
                view.serving,
                pod.attempt,
                call.room,
                call.room_sid,
                self._livekit.url,
                self._tokens.sign_agent(call.room, view.serving.profile.spec.display_name),
                self._keys.conversation,
            )
        old, key = call.link, Key(Kind.CALL, call.uid)
        call.link = PodLink(
            self._pods,
            pod,
            assignment.model_dump_json(by_alias=True).encode() if assignment else None,
            resume=call.claimed_here != pod.uid,
            on_change=lambda: self._queue.add(key),
        )
        call.agent_absent, call.asked_livekit_at, call.pods_read = False, None, False
        if old:
            old.cancel()

    async def _write_status(self, call: Call, session: VoiceSession, status: VoiceSessionStatus) -> bool:
        """Writes a status, provided that the VoiceSession is still the one it was decided on. Tells whether it was."""
        metadata = session.metadata
        try:
            raw = await self._kubernetes.patch_status(
                VOICE_SESSIONS, metadata.name, metadata.resource_version, status.to_wire()
            )
        except NotFoundError:
            call.known_deleted = True
            self._cache.sessions.remove(metadata.name, metadata.uid)
            return False
        except ConflictError:
            await self._refresh_session(call, metadata.name, metadata.uid)
            return False
        self._cache.sessions.put(raw)
        self._tell_joined(call, session, status)
        return True

    async def _refresh_session(self, call: Call, name: str, uid: str) -> None:
        try:
            raw: Raw | None = await self._kubernetes.get_session(name)
        except NotFoundError:
            raw = None
        if raw:
            self._cache.sessions.put(raw)
        if raw is None or raw["metadata"]["uid"] != uid:
            call.known_deleted = True
            self._cache.sessions.remove(name, uid)

    def _tell_joined(self, call: Call, session: VoiceSession, status: VoiceSessionStatus) -> None:
        joined = find_condition(status.conditions, ConditionType.AGENT_JOINED)
        before = find_condition(session.status.conditions, ConditionType.AGENT_JOINED)
        if joined is None or joined.status != "True" or (before and before.status == "True"):
            return
        start = status.start_type.value if status.start_type else "?"
        JOINED_SECONDS.labels(start).observe((status.connect_millis or 0) / 1000)
        self._events.record(
            session,
            "Normal",
            "AgentJoined",
            f"{start} start: the agent in pod {status.pod_name} was in the room after {status.connect_millis} ms.",
        )
        log.info("call %s (%s): agent joined in %s ms", call.name, call.uid, status.connect_millis)

    async def _finish(self, call: Call, session: VoiceSession, step: Finish) -> None:
        if not await self._write_status(call, session, step.status):
            return
        if call.link:
            call.link.cancel()
        status = step.status
        phase, reason = status.phase or "", status.reason or ""
        SESSIONS_FINISHED.labels(phase, reason, status.end_reason.value if status.end_reason else "").inc()
        self._events.record(session, "Normal" if phase == "Ended" else "Warning", reason, status.message or "")
        log.info("call %s (%s): %s %s: %s", call.name, call.uid, phase, reason, status.message)
        if step.died:
            self._close_books(call.uid, status.end_reason or EndReason.ERROR)
        if step.refusal and session.spec.room and not call.room_closed:
            await self._tell_customer(call, step.refusal)

    async def _tell_customer(self, call: Call, problem: Problem) -> None:
        notice = build_notice(problem.reason, words_for_customer(problem.reason, Phase.FAILED))
        try:
            await self._rooms.tell(call.room, notice)
        except LiveKitUnavailableError as error:
            log.warning("call %s: the customer could not be told: %s", call.name, error)

    async def _make_room(self, call: Call, session: VoiceSession, view: CallView) -> None:
        assert isinstance(view.serving, Serving)  # noqa: S101 - a room is made for a call that can be served
        ticket = new_ticket(
            session.spec.profile,
            tenant=session.spec.tenant,
            participant_identity=session.spec.participant_identity,
            local_mode=session.spec.local_mode,
            voice_session=session.metadata.name,
        )
        try:
            room = await self._rooms.create(call.room, ticket, view.serving.limits)
        except LiveKitUnavailableError as error:
            first = call.livekit_error is None
            call.livekit_error = str(error)
            if first:
                return  # to tell it; the next failure is one to be retried
            raise
        call.room_sid, call.room_made_at, call.livekit_error = room.sid, clock.now(), None

    async def _close_room(self, call: Call) -> None:
        if call.room:
            await self._rooms.delete(call.room, call.room_sid)
        call.room_closed = True

    async def _ask_livekit(self, call: Call) -> None:
        call.asked_livekit_at = clock.now()
        try:
            call.agent_absent = not await self._rooms.has_agent(call.room)
        except LiveKitUnavailableError as error:
            log.warning("call %s: its pod is silent and LiveKit does not say whether it is there: %s", call.name, error)

    async def _ask_end(self, call: Call, pod: AgentPod, reason: EndReason) -> None:
        call.end_asked_at = clock.now()
        if not call.is_linked_to(pod):
            return
        try:
            await self._pods.end(pod, reason)
        except PodRequestError as error:
            log.warning("call %s: %s", call.name, error)

    async def _dismiss(self, call: Call, pods: tuple[AgentPod, ...], reason: EndReason, *, lost: bool) -> None:
        for pod in pods:
            if lost:
                call.lost_pods.add(pod.uid)
                if call.link and call.is_linked_to(pod):
                    if call.link.view.state is LinkState.SILENT and pod.node:
                        self._ready.suspect(pod.node)
                    call.link.cancel()
            if pod.exit is None and not self._has_ended(call, pod):
                await self._end_quietly(pod, reason)
            if lost:
                PODS_LOST.inc()
                detail = call.link.view.detail if call.link else ""
                log.warning("call %s: pod %s never accepted it. %s", call.name, pod.name, detail)
            await self._delete_pod(pod)

    def _has_ended(self, call: Call, pod: AgentPod) -> bool:
        return call.link is not None and call.is_linked_to(pod) and call.link.view.ended is not None

    async def _end_quietly(self, pod: AgentPod, reason: EndReason) -> None:
        try:
            await self._pods.end(pod, reason)
        except PodRequestError as error:
            log.info("%s; it is deleted anyway", error)

    async def _delete_pod(self, pod: AgentPod) -> None:
        try:
            raw = await self._kubernetes.delete_pod(pod.name, pod.uid)
        except (NotFoundError, ConflictError):
            self._cache.pods.remove(pod.name, pod.uid)
            return
        if raw.get("kind") == "Pod" and raw["metadata"].get("deletionGracePeriodSeconds"):
            self._cache.pods.put(raw)
        else:
            self._cache.pods.remove(pod.name, pod.uid)

    async def _confirm_gone(self, call: Call, name: str) -> None:
        await self._refresh_session(call, name, call.uid)

    async def _expire(self, session: VoiceSession) -> None:
        metadata = session.metadata
        try:
            await self._kubernetes.delete_session(metadata.name, metadata.uid)
        except (NotFoundError, ConflictError):
            log.debug("VoiceSession %s was deleted by somebody else", metadata.name)
        self._cache.sessions.remove(metadata.name, metadata.uid)

    def _forget(self, call: Call) -> None:
        if call.link:
            call.link.cancel()
        self._leave_line(call)
        self._calls.forget(call.uid)
