"""Which variables a pool may set: the same to the CRD, which refuses, and to the code."""

import re

import pytest

from testing.crds import load_schema
from voicesession.pod_environment import LIVEKIT_SECRETS, OPERATOR_VARIABLES, is_reserved


def test_the_crd_refuses_the_names_that_the_operator_sets() -> None:
    rules = load_schema("AgentPool")["properties"]["spec"]["properties"]["env"]["items"]["properties"]["name"][
        "x-kubernetes-validations"
    ]
    (ours,) = [rule["rule"] for rule in rules if "operator sets" in rule["message"]]
    assert set(re.findall(r"'(\w+)'", ours)) == OPERATOR_VARIABLES


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        *((name, True) for name in sorted({*OPERATOR_VARIABLES, *LIVEKIT_SECRETS, "LIVEKIT_URL", "LIVEKIT_DEV_MODE"})),
        *((name, False) for name in ("AGENT_NAME", "LIVEKIT_INFERENCE_API_KEY", "LIVEKIT_SIP_OUTBOUND_TRUNK")),
    ],
)
def test_names_that_a_pool_may_not_set(name: str, reserved: bool) -> None:
    assert is_reserved(name) is reserved
