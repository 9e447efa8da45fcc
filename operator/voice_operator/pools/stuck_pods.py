"""Asks the API server what a kubelet says of a pool's pod that has a node and no container, while there is one."""

import logging
import time
from dataclasses import dataclass

from kube.client import KubernetesApi, KubernetesError, KubernetesUnavailableError, NotFoundError
from voice_operator.pods.agent_pod import AgentPod, Trouble
from voice_operator.pods.start_trouble import name_object, read_start_trouble

log = logging.getLogger(__name__)

# How often a pool's stuck pod is asked about.
ASK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was said of a pod, and when."""

    uid: str
    trouble: Trouble | None
    at: float


class StuckPods:
    """What is known of the one stuck pod of each pool that is asked about."""

    def __init__(self, kubernetes: KubernetesApi) -> None:
        self._kubernetes = kubernetes
        self._asked: dict[str, _Asked] = {}  # by pool

    def trouble_of(self, pool: str) -> Trouble | None:
        """Returns what keeps this pool's stuck pod from starting, as far as it was told."""
        asked = self._asked.get(pool)
        return asked.trouble if asked else None

    async def ask(self, pool: str, pod: AgentPod | None) -> float | None:
        """Asks about `pod`, this pool's stuck one, if it is time; returns after how many seconds to ask again, or None.

        An API server that does not answer, or refuses, says nothing.
        """
        if pod is None:
            self._asked.pop(pool, None)
            return None
        asked = self._asked.get(pool)
        if asked is None or asked.uid != pod.uid or time.monotonic() >= asked.at + ASK_SECONDS:
            self._asked[pool] = _Asked(pod.uid, await self._read_trouble(pod), time.monotonic())
        return ASK_SECONDS

    def forget(self, pool: str) -> None:
        """Drops what is known of a pool of this name."""
        self._asked.pop(pool, None)

    async def _read_trouble(self, pod: AgentPod) -> Trouble | None:
        try:
            trouble = read_start_trouble(await self._kubernetes.list_events_of(pod.uid))
            return trouble and name_object(trouble, await self._kubernetes.get_pod(pod.name))
        except NotFoundError:
            return None
        except (KubernetesError, KubernetesUnavailableError) as error:
            log.warning("cannot read why a pod does not start", extra={"pod": pod.name, "error": error})
            return None
