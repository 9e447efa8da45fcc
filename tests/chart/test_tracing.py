"""Spans are sent only where a collector is named, and then by every part that has some."""

from typing import Any

import pytest

from testing.chart import find, render
from testing.operator_objects import make_pool
from voice_operator.pools.pod_template import PodBasis, build_template

VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
COLLECTOR = "http://collector.monitoring:4318"


def _endpoint(template: dict[str, Any]) -> str | None:
    env = template["spec"]["containers"][0]["env"]
    return next((variable["value"] for variable in env if variable["name"] == VARIABLE), None)


@pytest.mark.parametrize("component", ["operator", "token-service"])
def test_a_collector_is_told_to_the_parts_that_have_spans(component: str) -> None:
    off = find(render(), "Deployment", component)
    on = find(render({"tracing": {"endpoint": COLLECTOR}}), "Deployment", component)
    assert [_endpoint(each["spec"]["template"]) for each in (off, on)] == [None, COLLECTOR]


def test_agent_pods_have_the_operators_collector_or_their_pools_own() -> None:
    assert _endpoint(build_template(make_pool(), PodBasis("key"))) is None
    assert _endpoint(build_template(make_pool(), PodBasis("key", traces_endpoint=COLLECTOR))) == COLLECTOR
    own = make_pool(env=[{"name": VARIABLE, "value": "http://own:4318"}])
    assert _endpoint(build_template(own, PodBasis("key", traces_endpoint=COLLECTOR))) == "http://own:4318"
