"""Keeps the status of AgentProfiles true: how many calls each has, and whether they can be served."""

from collections.abc import Mapping

from voice_operator.cache import Cache
from voice_operator.pools.status_writer import StatusWriter
from voicesession import clock
from voicesession.conditions import ConditionType, Reason, with_condition
from voicesession.models import AgentPool, AgentProfile, AgentProfileStatus, VoiceSessionSpec
from voicesession.serving import Problem, find_serving


class ProfileReconciler:
    """Reconciles AgentProfiles."""

    def __init__(self, cache: Cache, statuses: StatusWriter) -> None:
        self._cache = cache
        self._statuses = statuses

    async def reconcile_profile(self, name: str) -> None:
        """Tells how many calls a profile has, and whether they can be served."""
        profile = self._cache.profiles.get(name)
        if profile is None:
            self._statuses.forget(name)
            return
        await self._statuses.write(profile, self._build_status(profile))

    def _build_status(self, profile: AgentProfile) -> AgentProfileStatus:
        problem = find_problem(profile, self._cache.pools.by_name)
        return AgentProfileStatus(
            active_sessions=self._cache.sessions.count("live-profile", profile.metadata.name),
            observed_generation=profile.metadata.generation,
            conditions=with_condition(
                profile.status.conditions,
                ConditionType.READY,
                "False" if problem else "True",
                problem.reason if problem else Reason.REFERENCES_FOUND,
                problem.message if problem else "Its pool and provider exist.",
                clock.now(),
            ),
        )


def find_problem(profile: AgentProfile, pools: Mapping[str, AgentPool]) -> Problem | None:
    """Returns why calls of this profile cannot be served, or None. `pools`: by name."""
    for local_mode in (False, True) if profile.spec.local_pool else (False,):
        found = find_serving(profile, VoiceSessionSpec(local_mode=local_mode), pools.get)
        if isinstance(found, Problem):
            return found
    return None
