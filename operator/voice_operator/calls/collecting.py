"""Collects from pods whose call has ended what they could not write, and has it kept until it is delivered."""

import logging
from dataclasses import replace

from conversations.undelivered import UndeliveredPieces
from voice_operator.calls.incidents import Incidents
from voice_operator.calls.memory import CallMemory
from voice_operator.calls.steps import Collect
from voice_operator.delivery import Delivery
from voice_operator.metrics import ROWS_LOST
from voice_operator.pods.client import NotEndedError, PodClient, PodRequestError

log = logging.getLogger(__name__)


class Collecting:
    """The way from a pod to where it is kept. `delivery` None: there is no database to deliver to."""

    def __init__(
        self, pods: PodClient, pieces: UndeliveredPieces, delivery: Delivery | None, incidents: Incidents
    ) -> None:
        self._pods = pods
        self._pieces = pieces
        self._incidents = incidents
        self._delivery = delivery

    async def collect(self, memory: CallMemory, step: Collect) -> CallMemory:
        """Asks a pod for what it could not write, and lets it go when that is kept.

        Raises:
            PodRequestError: the pod cannot be asked just now; to be retried.
            KubernetesError, KubernetesUnavailableError: it may not be kept yet; to be retried.
        """
        pod = step.pod
        try:
            spool = await self._pods.read_spool(pod)
        except NotEndedError:
            if step.is_ending:
                raise
            spool = None
        if spool and (spool.session_id, spool.attempt) != (memory.uid, pod.attempt):
            log.error("a pod told of a conversation that is not its own", extra={"pod": pod.name})
        elif spool:
            await self._pieces.keep(spool)
            rows = sum(piece.rows for piece in spool.pieces)
            log.warning("a part of the conversation is to be delivered late", extra={"pod": pod.name, "rows": rows})
            self._incidents.tell_rows_wait(memory, rows, spool.lost)
            if spool.lost:
                ROWS_LOST.inc(spool.lost)
                log.error("rows of the conversation are too large and are lost", extra={"rows": spool.lost})
            if self._delivery:
                self._delivery.wake()
            await self._let_go(step)
        return replace(memory, collected=memory.collected | {pod.uid})

    async def _let_go(self, step: Collect) -> None:
        try:
            await self._pods.let_go_of_spool(step.pod)
        except PodRequestError as error:
            log.info("the pod could not be told: it is deleted", extra={"pod": step.pod.name, "error": error})
