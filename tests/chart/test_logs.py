"""The command that follows one call finds the pods that the chart, and the operator, give their labels."""

import re

from testing.chart import pod_templates, render
from testing.log_command import read_log_command
from voice_operator.pools.pod_template import PodBasis, build_template
from voicesession.models import AgentPool


def test_the_documented_command_selects_the_parts_that_know_calls() -> None:
    found = re.search(
        r"-l 'app\.kubernetes\.io/name=([\w-]+),app\.kubernetes\.io/component in \(([\w,-]+)\)'", read_log_command()
    )
    assert found
    name, components = found[1], set(found[2].split(","))
    pool = AgentPool.model_validate(
        {
            "metadata": {"name": "default"},
            "spec": {"image": "agent", "providers": [{"name": "p", "llm": {"model": "m"}}]},
        }
    )
    agents = build_template(pool, PodBasis("key"))["metadata"]["labels"]
    labels = [agents, *(template["metadata"]["labels"] for _, template in pod_templates(render()))]
    ours = {each["app.kubernetes.io/component"] for each in labels if each["app.kubernetes.io/name"] == name}
    assert components == {"token-service", "operator", "agent"}
    assert components <= ours
