"""Why calls of a profile cannot be served."""

from typing import Any

import pytest

from testing.operator_objects import CLOUD, LOCAL, make_pool, make_profile
from voice_operator.pools.profiles import find_problem
from voicesession.conditions import Reason

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
