"""Speaks to the agent of a call through its pod: hands the call over, asks for its end, dismisses it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus

from rooms.tokens import RoomTokens
from voice_operator.calls.agent_look import AgentLook
from voice_operator.calls.assignment import build_assignment, sum_up
from voice_operator.calls.call_traces import tell_assigned, trace_of
from voice_operator.calls.hand_over import Move
from voice_operator.calls.incidents import Incidents
from voice_operator.calls.links import Links
from voice_operator.calls.memory import CallMemory, Calls
from voice_operator.calls.steps import (
    AskEnd,
    AskHandOver,
    Connect,
    ConnectStandby,
    Dismiss,
    GiveBack,
    TakeOver,
    TellLate,
)
from voice_operator.livekit_address import LiveKitAddress
from voice_operator.metrics import PODS_LOST
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.client import PodClient, PodRequestError
from voice_operator.pods.link_view import LinkState, LinkView
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.write_through import WriteThrough
from voice_telemetry import traces
from voicesession import clock
from voicesession.models import EndReason
from voicesession.serving import Serving

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Access:
    """How an agent gets into its room, and into its conversation."""

    livekit: LiveKitAddress
    tokens: RoomTokens
    conversation_key: bytes = field(repr=False)


class Agents:
    """The agents of all calls."""

    def __init__(
        self,
        *,
        access: Access,
        calls: Calls,
        links: Links,
        look: AgentLook,
        pods: PodClient,
        ready_pods: ReadyPods,
        kubernetes: WriteThrough,
        incidents: Incidents,
    ) -> None:
        self._access = access
        self._calls = calls
        self._links = links
        self._look = look
        self._pods = pods
        self._ready = ready_pods
        self._kubernetes = kubernetes
        self._incidents = incidents

    def connect(self, memory: CallMemory, step: Connect) -> CallMemory:
        """Follows the call in its pod, which is given it if it has it not yet."""
        resume = memory.claimed_here != step.pod.uid  # by another process, which may have handed it over
        assignment, taken = self._build_assignment(memory, step), partial(tell_assigned, step.session, step.pod)
        self._links.open(memory.uid, step.pod, assignment, resume=resume, on_taken=taken)
        self._look.forget(memory.uid)
        return replace(memory, attempt=replace(memory.attempt, asked_livekit_at=None), pods_read=False)

    def look_for(self, memory: CallMemory) -> CallMemory:
        """Has LiveKit asked whether it sees the agent."""
        self._look.ask(memory.uid, memory.room)
        return replace(memory, attempt=replace(memory.attempt, asked_livekit_at=clock.steady()))

    def forget(self, uid: str) -> None:
        """Follows the call no more, and drops what was said of its agent."""
        self._links.forget(uid)
        self._look.forget(uid)

    def connect_standby(self, memory: CallMemory, step: ConnectStandby) -> CallMemory:
        """Follows a pod that is to stand by, beside the one that has the call; it is given what to prepare itself for.

        Whatever another process had told it, it tells again.
        """
        resume = memory.claimed_here != step.pod.uid
        assignment = self._build_assignment(memory, step, standby=True)
        taken = partial(tell_assigned, step.session, step.pod)
        self._links.open_beside(memory.uid, step.pod, assignment, resume=resume, on_taken=taken)
        return replace(memory, move=replace(memory.move, asked_at=None, tried_at=None))

    async def ask_hand_over(self, memory: CallMemory, step: AskHandOver) -> CallMemory:
        """Asks a pod to hand its call over; that it has shows by what it tells."""
        move = replace(memory.move, tried_at=clock.steady())
        try:
            await self._pods.hand_over(step.pod, step.patience)
        except PodRequestError as error:
            log.warning("the pod could not be asked to hand over", extra={"pod": step.pod.name, "error": error})
            return replace(memory, move=move)
        log.info("the call is to be handed over", extra={"pod": step.pod.name, "trigger": move.trigger})
        return replace(memory, move=replace(move, asked_at=move.tried_at))

    async def take_over(self, memory: CallMemory, step: TakeOver) -> CallMemory:
        """Has the pod that stands by join; it is the one that has the call from here on."""
        now, move = clock.steady(), memory.move
        move = replace(move, tried_at=now, handed_at=move.handed_at or now)
        token = self._sign(memory, step.serving, follows=True)
        try:
            await self._pods.take_over(step.pod, token, step.state)
        except PodRequestError as error:
            log.warning("the standby could not be told to join", extra={"pod": step.pod.name, "error": error})
            return replace(memory, move=move)
        view = self._links.view_of(memory.uid)
        if view is None or view.pod_uid != step.pod.uid:
            self._links.swap(memory.uid)
        return replace(memory, move=replace(move, told_to=step.pod.uid, told_at=now))

    async def tell_late(self, memory: CallMemory, step: TellLate) -> CallMemory:
        """Tells an agent what its customer said to the one before it."""
        try:
            await self._pods.take_over(step.pod, "", step.late.state)
        except PodRequestError as error:
            log.warning("what was said to the last agent is lost", extra={"pod": step.pod.name, "error": error})
        return replace(memory, move=replace(memory.move, late=step.late))

    async def give_back(self, memory: CallMemory, step: GiveBack) -> CallMemory:
        """Lets the pod go that was told to join and has not: the one before it goes on.

        Raises:
            KubernetesUnavailableError: it may not be deleted yet.
        """
        log.warning("the standby has not joined: the agent before it goes on", extra={"pod": step.pod.name})
        self._links.swap(memory.uid)
        move = Move(memory.move.trigger, memory.move.wanted_at, memory.move.standbys)
        memory = self._calls.keep(replace(memory, move=move))
        return await self.dismiss(memory, Dismiss((step.pod,), EndReason.SUPERSEDED, lost=True))

    def _build_assignment(
        self, memory: CallMemory, step: Connect | ConnectStandby, *, standby: bool = False
    ) -> bytes | None:
        if step.serving is None:
            return None
        access = self._access
        assignment = build_assignment(
            step.session,
            step.serving,
            step.pod.attempt,
            memory.room,
            memory.room_sid,
            access.livekit.url,
            self._sign(memory, step.serving, follows=step.session.status.agent_joined_at is not None),
            access.conversation_key,
            sum_up(memory, step.session.status, clock.steady(), clock.wall_ahead()),
            self._links.failing.list_failing(step.pod.pool, clock.steady()),
            standby=standby,
            traceparent=trace_of(step.session).traceparent(step.pod.attempt) if traces.are_on() else None,
        )
        return assignment.model_dump_json(by_alias=True, exclude_none=True).encode()

    def _sign(self, memory: CallMemory, serving: Serving | None, *, follows: bool) -> str:
        name = serving.profile.spec.display_name if serving else None
        return self._access.tokens.sign_agent(memory.room, name, follows=follows)

    async def ask_end(self, memory: CallMemory, step: AskEnd) -> CallMemory:
        """Asks for the end of the call; what comes of it shows by what the pod tells."""
        asked_at = clock.steady()
        try:
            await self._pods.end(step.pod, step.reason)
        except PodRequestError as error:
            log.warning("the pod could not be asked to end", extra={"pod": step.pod.name, "error": error})
            return replace(memory, end_tried_at=asked_at)
        return replace(memory, end_tried_at=asked_at, end_asked_at=asked_at)

    async def dismiss(self, memory: CallMemory, step: Dismiss) -> CallMemory:
        """Ends and deletes pods.

        Raises:
            KubernetesUnavailableError: one may not be deleted yet.
        """
        if step.lost:
            memory = self._give_up(memory, step.pods)
        for pod in step.pods:
            link = self._find_link(memory, pod)
            if pod.exit is None and not (link and link.ended):
                await self.end_quietly(pod, step.reason)
            await self._kubernetes.delete_pod(pod)
        return memory

    def _give_up(self, memory: CallMemory, pods: Sequence[AgentPod]) -> CallMemory:
        for pod in pods:
            link = self._find_link(memory, pod)
            self._stop_following(memory, pod)
            if link and pod.node and is_nodes_fault(link):
                self._ready.suspect(pod.node)
            PODS_LOST.inc()
            detail = link.detail if link else ""
            self._incidents.tell_not_accepted(memory, pod, detail)
            log.warning("the pod never accepted the call", extra={"pod": pod.name, "detail": detail})
        move = memory.move
        if any(pod.stands_by_for for pod in pods):
            move = replace(move, standbys=move.standbys + 1, lost_at=clock.steady())
        # Before anything is sent: how such a pod ends, superseded for example, is not how the call ends.
        lost_pods = memory.lost_pods | {pod.uid for pod in pods}
        return self._calls.keep(replace(memory, lost_pods=lost_pods, move=move))

    def _stop_following(self, memory: CallMemory, pod: AgentPod) -> None:
        main, beside = self._links.view_of(memory.uid), self._links.beside(memory.uid)
        if main and main.pod_uid == pod.uid:
            self._links.cancel(memory.uid)
        elif beside and beside.pod_uid == pod.uid:
            self._links.close_beside(memory.uid)

    async def end_quietly(self, pod: AgentPod, reason: EndReason) -> None:
        """Tells a pod to end, if it can be told."""
        try:
            await self._pods.end(pod, reason)
        except PodRequestError as error:
            log.info("the pod could not be told to end", extra={"pod": pod.name, "error": error})

    def _find_link(self, memory: CallMemory, pod: AgentPod) -> LinkView | None:
        views = (self._links.view_of(memory.uid), self._links.beside(memory.uid))
        return next((view for view in views if view and view.pod_uid == pod.uid), None)


def is_nodes_fault(link: LinkView) -> bool:
    """Tells whether a pod that did not accept may share why with its node's others. Pure.

    A node that is lost makes all of them silent; one whose clock is off makes them refuse our tokens.
    """
    return link.state is LinkState.SILENT or link.refusal == HTTPStatus.UNAUTHORIZED
