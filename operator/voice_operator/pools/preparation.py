"""Tells a pool's idle pods which greetings to synthesize ahead of their call."""

import asyncio
import logging
from collections.abc import Callable

from voice_operator.cache import Cache
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.client import PodClient
from voice_operator.pools.ready_pods import ReadyPods
from voicesession.assignment import Greeting, Preparation
from voicesession.models import AgentPool, AgentProfile, AgentProfileSpec
from voicesession.one_moment import choose_moment
from voicesession.serving import Problem, choose_provider, pool_for

log = logging.getLogger(__name__)

# More than this are told live: a pod has little time and memory to prepare them.
_MAX_GREETINGS = 16
# The most needed first.
_TEXTS: tuple[Callable[[AgentProfileSpec], str], ...] = (
    lambda spec: spec.greeting,
    lambda spec: spec.recovery.apology,
    lambda spec: spec.trouble.apology,
    choose_moment,
)
_AT_ONCE = 8


class Preparer:
    """Prepares idle pods, each once for each set of greetings."""

    def __init__(self, cache: Cache, ready_pods: ReadyPods, pods: PodClient) -> None:
        self._cache = cache
        self._ready = ready_pods
        self._pods = pods
        self._prepared: dict[str, dict[str, Preparation]] = {}  # by pool name and pod uid

    async def reconcile_preparation(self, name: str) -> None:
        """Prepares the idle pods of this pool that are not prepared as they should be.

        Raises:
            PodRequestError: at least one could not be told; to be retried.
        """
        pool = self._cache.pools.get(name)
        if pool is None:
            self._prepared.pop(name, None)
            return
        preparation = build_preparation(pool, self._cache.profiles.all())
        idle = self._ready.list_ready(name)
        before = self._prepared.get(name, {})
        done = self._prepared[name] = {pod.uid: before[pod.uid] for pod in idle if pod.uid in before}
        if not preparation.greetings:
            return
        todo = [pod for pod in idle if done.get(pod.uid) != preparation]
        gate = asyncio.Semaphore(_AT_ONCE)
        results = await asyncio.gather(
            *(self._prepare(pod, preparation, gate, done) for pod in todo), return_exceptions=True
        )
        for error in results:
            if error is not None:
                raise error

    async def _prepare(
        self, pod: AgentPod, preparation: Preparation, gate: asyncio.Semaphore, done: dict[str, Preparation]
    ) -> None:
        async with gate:
            if self._ready.is_ready(pod):
                await self._pods.prepare(pod, preparation)
                done[pod.uid] = preparation


def build_preparation(pool: AgentPool, profiles: list[AgentProfile]) -> Preparation:
    """Returns what the profiles that this pool serves say at known moments, all greetings first.

    Without personal ones, which depend on the call.
    """
    served = [
        (profile, local_mode)
        for profile in sorted(profiles, key=lambda profile: profile.metadata.name)
        for local_mode in (False, True)
        if pool_for(profile, local_mode) == pool.metadata.name
    ]
    greetings = [
        _build_greeting(pool, profile, local_mode, read(profile.spec))
        for read in _TEXTS
        for profile, local_mode in served
    ]
    known = dict.fromkeys(greeting for greeting in greetings if greeting)
    return Preparation(greetings=list(known)[:_MAX_GREETINGS])


def _build_greeting(pool: AgentPool, profile: AgentProfile, local_mode: bool, text: str) -> Greeting | None:
    provider = choose_provider(pool, profile, None, local_mode=local_mode)
    if isinstance(provider, Problem) or not provider or not text or "{" in text:
        return None
    return Greeting(provider=provider, voice=profile.spec.models.voice, text=text)
