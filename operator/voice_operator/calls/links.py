"""The open links to the pods of calls: what is held of a call beside its memory."""

import asyncio

from voice_operator.calls.hearing import Hearing
from voice_operator.keys import Key, Kind
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.client import PodClient
from voice_operator.pods.link import PodLink
from voice_operator.pods.link_view import LinkState, LinkView
from voice_operator.work_queue import WorkQueue


class Links:
    """At most one link for each call, by the uid of its VoiceSession; news from a pod have its call looked at."""

    def __init__(self, pods: PodClient, queue: WorkQueue[Key]) -> None:
        self._pods = pods
        self._queue = queue
        self._links: dict[str, PodLink] = {}
        self._hearing = Hearing()

    @property
    def cut_off(self) -> bool:
        """Tells whether so many pods are silent that it is most likely this process whom nobody reaches."""
        return self._hearing.cut_off

    def view_of(self, uid: str) -> LinkView | None:
        """Returns what the last pod that this call was connected to has told; None if there was none."""
        link = self._links.get(uid)
        return link.view if link else None

    def open(self, uid: str, pod: AgentPod, assignment: bytes | None, *, resume: bool) -> None:
        """Follows a call in this pod from now on, and in no other; the rest is as `PodLink` takes it."""
        self.cancel(uid)
        self._links[uid] = PodLink(self._pods, pod, assignment, resume=resume, on_change=lambda: self._note(uid))

    def cancel(self, uid: str) -> None:
        """Stops following a call; its pod goes on, and what it has told stays known."""
        link = self._links.get(uid)
        if link:
            link.cancel()
            self._hearing.drop(uid)

    def forget(self, uid: str) -> None:
        """Stops following a call, and drops what its pod has told."""
        self.cancel(uid)
        self._links.pop(uid, None)

    def _note(self, uid: str) -> None:
        link = self._links[uid]
        view = link.view
        if view.ended is None and view.state is LinkState.FOLLOWING:
            self._hearing.note(uid, link.pod.node, silent=False)
        elif view.state is LinkState.SILENT and view.unanswered_since is None:
            self._hearing.note(uid, link.pod.node, silent=True)
        else:
            self._hearing.drop(uid)
        self._queue.add(Key(Kind.CALL, uid))

    async def close(self) -> None:
        """Stops following all calls, and waits until that is so; their pods go on."""
        await asyncio.gather(*(link.close() for link in self._links.values()))
