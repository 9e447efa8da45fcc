"""Claims a ready pod for a call: the JSON-patch, and what its answers mean."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from kube.client import ConflictError, InvalidError, KubernetesError, NotFoundError, ThrottledError
from voice_operator.cache import Cache
from voice_operator.calls.call_traces import tell_claimed
from voice_operator.calls.memory import CallMemory, Calls, ClaimRefusal
from voice_operator.calls.steps import Claim
from voice_operator.metrics import CLAIM_CONFLICTS, CLAIM_SECONDS
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pools.pod_template import build_owner_reference
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.pools.templates import Templates
from voice_operator.write_through import WriteThrough
from voicesession import clock
from voicesession.models import OnDrain, VoiceSession
from voicesession.names import (
    ATTEMPT_ANNOTATION,
    CLAIMED,
    CLAIMED_AT_ANNOTATION,
    KEEP_ANNOTATIONS,
    SESSION_LABEL,
    STANDS_BY_ANNOTATION,
    STATE_LABEL,
    WARM,
)

log = logging.getLogger(__name__)


class Claims:
    """Claims pods. That a pod has one call only is the API server's doing; here is told who got which."""

    def __init__(
        self, cache: Cache, calls: Calls, ready_pods: ReadyPods, templates: Templates, kubernetes: WriteThrough
    ) -> None:
        self._cache = cache
        self._calls = calls
        self._ready = ready_pods
        self._templates = templates
        self._kubernetes = kubernetes

    async def claim(self, memory: CallMemory, step: Claim) -> CallMemory:
        """Claims the pod that is next for this call, if there still is one.

        Raises:
            KubernetesUnavailableError: there was no answer. The pod has to be read back before another is claimed.
        """
        pool = step.serving.pool
        pod = self._ready.reserve_for(memory.uid, pool.metadata.name, self._templates.hash_of(pool), step.avoid)
        if pod is None:
            return memory
        # Before it is sent, so that it is known whatever becomes of the answer. And the call has its room from here on.
        self._calls.keep(replace(memory, unanswered_claim=pod.name, claims=step.attempt))
        try:
            return await self._send(memory, step, pod)
        finally:
            self._ready.release(pod)

    async def _send(self, memory: CallMemory, step: Claim, pod: AgentPod) -> CallMemory:
        began = clock.now()
        try:
            await self._kubernetes.patch_pod(
                pod, build_claim(pod, step.session, step.attempt, began, step.stands_by_for)
            )
        except NotFoundError:
            CLAIM_CONFLICTS.inc()
            return memory
        except (ConflictError, InvalidError) as error:
            CLAIM_CONFLICTS.inc()
            log.info("the pod cannot be claimed", extra={"pod": pod.name, "error": error})
            await self._kubernetes.refresh_pod(pod.name, pod.uid)
            held = self._cache.pods.get(pod.name)
            is_free = held is not None and held.uid == pod.uid and held.warm
            return _note_refusal(memory, error) if is_free else memory  # it was not the pod that had changed
        except KubernetesError as error:
            return _note_refusal(memory, error)
        except ThrottledError:
            self._calls.keep(memory)  # it was not done, so there is nothing to read back
            raise
        tell_claimed(step.session, pod, step.attempt, began)
        if step.stands_by_for:
            log.info("pod claimed to stand by", extra={"pod": pod.name, "attempt": step.attempt})
            return replace(memory, claimed_here=pod.uid, claims=step.attempt, claim_refusal=None)
        seconds = (clock.steady() - memory.arrived_at).total_seconds()
        CLAIM_SECONDS.labels(memory.start_type.value).observe(seconds)
        log.info("pod claimed", extra={"pod": pod.name, "attempt": step.attempt, "milliseconds": round(1000 * seconds)})
        return replace(memory, claimed_here=pod.uid, claims=step.attempt, tries=memory.tries + 1, claim_refusal=None)

    async def read_back(self, memory: CallMemory, pod_name: str) -> CallMemory:
        """Looks whether the claim of this pod, which had no answer, took effect: the pod in the cache says it then."""
        pod = self._cache.pods.get(pod_name)
        if pod:
            await self._kubernetes.refresh_pod(pod_name, pod.uid)
        return replace(memory, unanswered_claim=None)


def _note_refusal(memory: CallMemory, error: KubernetesError) -> CallMemory:
    if memory.claim_refusal is None:  # it is tried each second
        log.error("the claim was refused", extra={"error": error})
    return replace(memory, claim_refusal=ClaimRefusal(error.words, clock.steady()))


def build_claim(
    pod: AgentPod, session: VoiceSession, attempt: int, now: datetime, stands_by_for: int = 0
) -> Sequence[dict[str, Any]]:
    """Returns the JSON-patch by which this pod becomes this session's, and nobody else's.

    `stands_by_for`: the attempt that has the call, and is to be followed by this one.

    It tests what makes the pod claimable, not its resourceVersion, which the kubelet keeps moving.
    """
    labels, annotations = "/metadata/labels", "/metadata/annotations"
    keep = KEEP_ANNOTATIONS if pod.on_drain is OnDrain.WAIT else {}
    owner = build_owner_reference("VoiceSession", session.metadata.name, session.metadata.uid)
    standby = [{"op": "add", "path": f"{annotations}/{_escape(STANDS_BY_ANNOTATION)}", "value": str(stands_by_for)}]
    return [
        {"op": "test", "path": "/metadata/uid", "value": pod.uid},
        {"op": "test", "path": "/metadata/deletionTimestamp", "value": None},
        {"op": "test", "path": f"{labels}/{_escape(STATE_LABEL)}", "value": WARM},
        {"op": "replace", "path": f"{labels}/{_escape(STATE_LABEL)}", "value": CLAIMED},
        {"op": "add", "path": f"{labels}/{_escape(SESSION_LABEL)}", "value": session.metadata.uid},
        {"op": "add", "path": f"{annotations}/{_escape(ATTEMPT_ANNOTATION)}", "value": str(attempt)},
        {"op": "add", "path": f"{annotations}/{_escape(CLAIMED_AT_ANNOTATION)}", "value": now.isoformat()},
        *({"op": "add", "path": f"{annotations}/{_escape(key)}", "value": value} for key, value in keep.items()),
        *(standby if stands_by_for else ()),
        {"op": "replace", "path": "/metadata/ownerReferences", "value": [owner]},
        # Resets the record of who set which field, which later writes then spare too. It is for server-side apply, and
        # nobody applies to a claimed pod; and it is 45 % of the pod as it is stored, sent and read.
        {"op": "add", "path": "/metadata/managedFields", "value": [{}]},
    ]


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
