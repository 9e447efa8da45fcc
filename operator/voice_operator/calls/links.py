"""The open links to the pods of calls: what is held of a call beside its memory."""

import asyncio
import functools
from collections.abc import Callable, Iterator

from voice_operator.calls.api_broker import ApiBroker
from voice_operator.calls.hearing import Hearing
from voice_operator.keys import Key, Kind
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.client import PodClient
from voice_operator.pods.failing_models import FailingModels
from voice_operator.pods.link import OnTaken, PodLink, nobody
from voice_operator.pods.link_view import LinkState, LinkView
from voice_operator.work_queue import WorkQueue
from voicesession import clock
from voicesession.assignment import Heartbeat
from voicesession.measures import Measured


class Links:
    """A link for each call, by the uid of its VoiceSession, and at most one beside it; news have the call looked at."""

    def __init__(
        self,
        pods: PodClient,
        queue: WorkQueue[Key],
        broker: ApiBroker,
        on_measured: Callable[[str, Measured], None] = lambda _uid, _measured: None,
    ) -> None:
        """`on_measured` is told what a call's pod has measured, with the uid of its VoiceSession."""
        self._pods = pods
        self._queue = queue
        self._broker = broker
        self._on_measured = on_measured
        self._links: dict[str, PodLink] = {}
        self._beside: dict[str, PodLink] = {}  # to the pod that stands by, or has just handed its call over
        self._hearing = Hearing()
        self.failing = FailingModels()  # as the pods tell

    @property
    def cut_off(self) -> bool:
        """Tells whether so many pods are silent that it is most likely this process whom nobody reaches."""
        return self._hearing.cut_off

    @property
    def lost_node(self) -> str | None:
        """Returns the node with which the operator that led before was lost, until something of it is heard."""
        return self._hearing.lost_node

    def note_lost_node(self, node: str | None) -> None:
        """Takes in on which node the operator that led before fell silent; None: it did not, or nobody knows."""
        self._hearing.lost_node = node

    def view_of(self, uid: str) -> LinkView | None:
        """Returns what the last pod that this call was connected to has told; None if there was none."""
        link = self._links.get(uid)
        return link.view if link else None

    def open(
        self, uid: str, pod: AgentPod, assignment: bytes | None, *, resume: bool, on_taken: OnTaken = nobody
    ) -> None:
        """Follows a call in this pod from now on, and in no other; the rest is as `PodLink` takes it."""
        self.cancel(uid)
        if (beside := self.beside(uid)) and beside.pod_uid == pod.uid:
            self.close_beside(uid)
        self._links[uid] = self._follow(uid, pod, assignment, resume=resume, on_taken=on_taken)

    def _follow(self, uid: str, pod: AgentPod, assignment: bytes | None, *, resume: bool, on_taken: OnTaken) -> PodLink:
        return PodLink(
            self._pods,
            pod,
            assignment,
            resume=resume,
            on_taken=on_taken,
            on_change=lambda: self._note(uid),
            on_model_failed=lambda event: self.failing.note(pod.pool, event, clock.steady(), clock.now()),
            on_measured=functools.partial(self._on_measured, uid),
            on_api_request=self._broker.serve(uid, pod),
        )

    def beside(self, uid: str) -> LinkView | None:
        """Returns what the pod beside the one that has this call has told; None if there was none."""
        link = self._beside.get(uid)
        return link.view if link else None

    def open_beside(
        self, uid: str, pod: AgentPod, assignment: bytes | None, *, resume: bool, on_taken: OnTaken = nobody
    ) -> None:
        """Follows the call in this pod too, beside the one that has it."""
        self.close_beside(uid)
        self._beside[uid] = self._follow(uid, pod, assignment, resume=resume, on_taken=on_taken)

    def swap(self, uid: str) -> None:
        """Has the pod beside be the one that has the call, and that one the pod beside."""
        link, beside = self._links.pop(uid, None), self._beside.pop(uid, None)
        if beside:
            self._links[uid] = beside
        if link:
            self._beside[uid] = link
        self._note(uid)

    def close_beside(self, uid: str) -> None:
        """Follows the pod beside no more, and drops what it has told."""
        link = self._beside.pop(uid, None)
        if link:
            link.cancel()

    def cancel(self, uid: str) -> None:
        """Stops following a call; its pod goes on, and what it has told stays known."""
        link = self._links.get(uid)
        if link:
            link.cancel()
            self._hearing.drop(uid)

    def forget(self, uid: str) -> None:
        """Stops following a call, and drops what its pod has told."""
        self.cancel(uid)
        self.close_beside(uid)
        self._links.pop(uid, None)

    def _note(self, uid: str) -> None:
        self._queue.add(Key(Kind.CALL, uid))
        link = self._links.get(uid)
        if link is None:
            return
        view = link.view
        if view.ended is None and view.state is LinkState.FOLLOWING:
            self._hearing.note(uid, link.pod.node, silent=False)
        elif view.state is LinkState.SILENT and view.unanswered_since is None:
            self._hearing.note(uid, link.pod.node, silent=True)
        else:
            self._hearing.drop(uid)

    def heartbeats(self) -> Iterator[tuple[str, Heartbeat]]:
        """Yields the last heartbeat of each pod whose call goes on, with the name of its pool."""
        for link in [*self._links.values(), *self._beside.values()]:
            if link.heartbeat is not None and _follows(link):
                yield link.pod.pool, link.heartbeat

    def heartbeat_of(self, uid: str) -> Heartbeat | None:
        """Returns the last heartbeat of the pod that has this call; None where none follows it, or the call is over."""
        link = self._links.get(uid)
        return link.heartbeat if link and _follows(link) else None

    async def close(self) -> None:
        """Stops following all calls, and waits until that is so; their pods go on."""
        links = [*self._links.values(), *self._beside.values()]
        await asyncio.gather(*(link.close() for link in links))


def _follows(link: PodLink) -> bool:
    """Tells whether a call goes on, and its pod tells of it."""
    return link.view.ended is None and link.view.state is LinkState.FOLLOWING
