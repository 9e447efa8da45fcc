"""Why calls of a profile cannot be served."""

from typing import Any, cast

import pytest

from testing.operator_objects import CLOUD, LOCAL, make_pool, make_profile
from voice_operator.cache import Cache
from voice_operator.pools.profiles import ProfileReconciler, find_problem
from voice_operator.pools.status_writer import StatusWriter
from voicesession.conditions import Reason
from voicesession.models import AgentProfile, AgentProfileStatus

CLOUDY, LOCAL_ONLY = make_pool("cloudy", providers=[CLOUD]), make_pool("local-only", providers=[LOCAL])
POOLS = {pool.metadata.name: pool for pool in (CLOUDY, LOCAL_ONLY)}


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ({"pool": "cloudy"}, None),
        ({"pool": "cloudy", "localPool": "local-only"}, None),
        ({"pool": "nowhere"}, Reason.POOL_MISSING),
        ({"pool": "cloudy", "localPool": "nowhere"}, Reason.POOL_MISSING),
        ({"pool": "cloudy", "provider": "nothing"}, Reason.PROVIDER_MISSING),
        ({"pool": "cloudy", "localPool": "cloudy"}, Reason.PROVIDER_MISSING),
    ],
)
def test_a_profile_is_served_when_its_pools_have_what_it_names(profile: dict[str, Any], reason: Reason | None) -> None:
    problem = find_problem(make_profile(**profile), POOLS)
    assert (problem.reason if problem else None) == reason


class Written:
    """What is written of profiles."""

    def __init__(self) -> None:
        self.statuses: list[AgentProfileStatus] = []

    async def write(self, _profile: AgentProfile, status: AgentProfileStatus) -> None:
        self.statuses.append(status)


@pytest.mark.parametrize(("pool", "ready"), [("cloudy", "True"), ("nowhere", "False")])
async def test_who_waits_for_a_profile_sees_that_a_status_is_of_its_present_spec(pool: str, ready: str) -> None:
    cache, written = Cache(), Written()
    for store, known in ((cache.pools, CLOUDY), (cache.profiles, make_profile(pool=pool))):
        raw = known.to_wire()
        store.put({**raw, "metadata": {**raw["metadata"], "resourceVersion": "1", "generation": 7}})
    await ProfileReconciler(cache, cast(StatusWriter, written)).reconcile_profile("default")
    (status,) = written.statuses
    assert [(each.type, each.status) for each in status.conditions] == [("Ready", ready)]
    assert status.observed_generation == 7
