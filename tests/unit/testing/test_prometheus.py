"""Rules whose minutes are seconds, and what is scraped."""

from typing import Any

from testing.prometheus import hasten
from testing.scrape_targets import find_target


def build_pod(**status: Any) -> dict[str, Any]:
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}
    labels = {"app.kubernetes.io/component": "operator"}
    return {
        "metadata": {"name": "pod", "namespace": "voice", "annotations": annotations, "labels": labels},
        "status": {"phase": "Running", "podIP": "10.0.0.1", **status},
    }


def test_rules_are_hastened_in_their_ranges_and_their_patience() -> None:
    rules = {
        "groups": [
            {
                "name": "all",
                "rules": [
                    {"alert": "Slow", "expr": 'rate(a{b="5m"}[10m]) > 3 and increase(c[1h]) > 0', "for": "15s"},
                    {"record": "price", "expr": "vector(3)"},
                ],
            }
        ]
    }
    (group,) = hasten(rules, 20)["groups"]
    assert group == {
        "name": "all",
        "rules": [
            {"alert": "Slow", "expr": 'rate(a{b="5m"}[30000ms]) > 3 and increase(c[180000ms]) > 0', "for": "750ms"},
            {"record": "price", "expr": "vector(3)"},
        ],
    }


def test_a_pod_is_scraped_where_its_annotations_say() -> None:
    labels = {"namespace": "voice", "pod": "pod", "job": "operator"}
    assert find_target(build_pod()) == {"targets": ["10.0.0.1:8080"], "labels": labels}


def test_a_pod_that_does_not_run_or_does_not_want_it_is_not_scraped() -> None:
    silent = build_pod()
    del silent["metadata"]["annotations"]
    assert [find_target(pod) for pod in (build_pod(phase="Pending"), build_pod(phase="Failed"), silent)] == [None] * 3
