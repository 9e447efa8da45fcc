"""Asks starting pods themselves whether they are ready, while calls wait for them.

The kubelet would ask once a second only, and tell later still.
"""

import asyncio
import time

from voice_operator.cache import Cache
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.client import PodClient
from voice_operator.pools.decide import START_TIMEOUT
from voice_operator.pools.ready_pods import ReadyPods

PROBE_INTERVAL_SECONDS = 0.05


class Probes:
    """One task for each pod that is asked; it ends with the pod's yes, with the wait for it, or with the pod."""

    def __init__(self, cache: Cache, ready_pods: ReadyPods, pods: PodClient) -> None:
        self._cache = cache
        self._ready = ready_pods
        self._pods = pods
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by pod uid

    def probe_starting(self, pool: str) -> None:
        """Begins to ask the starting pods of this pool that are not being asked yet."""
        for pod in self._cache.pods.by("starting-pool", pool):
            if pod.ip and pod.uid not in self._ready.answering and pod.uid not in self._tasks:
                self._tasks[pod.uid] = asyncio.create_task(self._probe(pod), name=f"probe-{pod.name}")

    async def close(self) -> None:
        """Ends all of them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _probe(self, pod: AgentPod) -> None:
        deadline = time.monotonic() + START_TIMEOUT.total_seconds()
        try:
            while time.monotonic() < deadline and self._is_worth_asking(pod):
                if await self._pods.is_ready(pod):
                    self._ready.answered(pod)
                    return
                await asyncio.sleep(PROBE_INTERVAL_SECONDS)
        finally:
            del self._tasks[pod.uid]

    def _is_worth_asking(self, pod: AgentPod) -> bool:
        held = self._cache.pods.get(pod.name)
        waited_for = self._ready.count_waiting(pod.pool) > 0
        return waited_for and held is not None and held.uid == pod.uid and held.warm and not held.ready
