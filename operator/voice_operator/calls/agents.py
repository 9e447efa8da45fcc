"""Speaks to the agent of a call through its pod: hands the call over, asks for its end, dismisses it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from rooms.tokens import RoomTokens
from voice_operator.calls.agent_look import AgentLook
from voice_operator.calls.assignment import build_assignment, sum_up
from voice_operator.calls.links import Links
from voice_operator.calls.memory import CallMemory, Calls
from voice_operator.calls.steps import AskEnd, Connect, Dismiss
from voice_operator.livekit_address import LiveKitAddress
from voice_operator.metrics import PODS_LOST
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.client import PodClient, PodRequestError
from voice_operator.pods.link_view import LinkState, LinkView
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.write_through import WriteThrough
from voicesession import clock

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
    ) -> None:
        self._access = access
        self._calls = calls
        self._links = links
        self._look = look
        self._pods = pods
        self._ready = ready_pods
        self._kubernetes = kubernetes

    def connect(self, memory: CallMemory, step: Connect) -> CallMemory:
        """Follows the call in its pod, which is given it if it has it not yet."""
        resume = memory.claimed_here != step.pod.uid  # by another process, which may have handed it over
        self._links.open(memory.uid, step.pod, self._build_assignment(memory, step), resume=resume)
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

    def _build_assignment(self, memory: CallMemory, step: Connect) -> bytes | None:
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
            access.tokens.sign_agent(memory.room, step.serving.profile.spec.display_name),
            access.conversation_key,
            sum_up(memory, step.session.status, clock.steady(), clock.wall_ahead()),
        )
        return assignment.model_dump_json(by_alias=True, exclude_none=True).encode()

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
                await self._end_quietly(pod, step)
            await self._kubernetes.delete_pod(pod)
        return memory

    def _give_up(self, memory: CallMemory, pods: Sequence[AgentPod]) -> CallMemory:
        for pod in pods:
            link = self._find_link(memory, pod)
            if link:
                self._links.cancel(memory.uid)
            if link and pod.node and is_nodes_fault(link):
                self._ready.suspect(pod.node)
            PODS_LOST.inc()
            detail = link.detail if link else None
            log.warning("the pod never accepted the call", extra={"pod": pod.name, "detail": detail})
        # Before anything is sent: how such a pod ends, superseded for example, is not how the call ends.
        return self._calls.keep(replace(memory, lost_pods=memory.lost_pods | {pod.uid for pod in pods}))

    async def _end_quietly(self, pod: AgentPod, step: Dismiss) -> None:
        try:
            await self._pods.end(pod, step.reason)
        except PodRequestError as error:
            log.info("the pod could not be told to end: it is deleted", extra={"pod": pod.name, "error": error})

    def _find_link(self, memory: CallMemory, pod: AgentPod) -> LinkView | None:
        link = self._links.view_of(memory.uid)
        return link if link and link.pod_uid == pod.uid else None


def is_nodes_fault(link: LinkView) -> bool:
    """Tells whether a pod that did not accept may share why with its node's others. Pure.

    A node that is lost makes all of them silent; one whose clock is off makes them refuse our tokens.
    """
    return link.state is LinkState.SILENT or link.refusal == HTTPStatus.UNAUTHORIZED
