"""How Prometheus finds what the parts serve, and what it and Grafana are given."""

import json

import pytest

from conversations import pgbouncer
from testing.chart import NAMESPACE, Raw, find, pod_templates, render, secret_keys

MONITORING = {"PodMonitor", "PrometheusRule"}
EVERYTHING: Raw = {
    "livekit": {"ports": {"metrics": 6789}},
    "pgbouncer": {"metrics": {"enabled": True}},
    "metrics": {
        "scrapeAnnotations": True,
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "15s"},
        "alerts": {"enabled": True, "labels": {"role": "alerts"}, "runbooks": "https://git.example.com/runbooks/"},
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Voice"}},
    },
}


@pytest.fixture(scope="module")
def monitored() -> list[Raw]:
    return render(EVERYTHING)


def test_nothing_is_made_unless_it_is_asked_for() -> None:
    objects = render()
    assert not MONITORING & {each["kind"] for each in objects}
    assert not [each["metadata"]["name"] for each in objects if "dashboard" in each["metadata"]["name"]]
    annotated = [name for name, pod in pod_templates(objects) if "prometheus.io" in str(pod["metadata"])]
    assert annotated == []
    assert "prometheus" not in json.dumps(find(objects, "Deployment", "livekit"))


def test_each_monitor_names_a_port_that_its_pods_have(monitored: list[Raw]) -> None:
    monitors = [each for each in monitored if each["kind"] == "PodMonitor"]
    parts = {each["metadata"]["labels"]["app.kubernetes.io/component"] for each in monitors}
    assert parts == {"operator", "token-service", "pgbouncer", "local-models", "livekit"}
    for monitor in monitors:
        part = monitor["metadata"]["labels"]["app.kubernetes.io/component"]
        template = find(monitored, "Deployment", part)["spec"]["template"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        named = (port for each in template["spec"]["containers"] for port in each["ports"])
        ports = {port["name"]: port["containerPort"] for port in named}
        assert template["metadata"]["annotations"]["prometheus.io/port"] == str(ports[endpoint["port"]])
        assert endpoint["interval"] == "15s"
        assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_pgbouncer_s_are_asked_by_a_program_of_ours_with_a_password_of_its_own(monitored: list[Raw]) -> None:
    containers = find(monitored, "Deployment", "pgbouncer")["spec"]["template"]["spec"]["containers"]
    (asking,) = (each for each in containers if each["name"] == "metrics")
    operator = find(monitored, "Deployment", "operator")["spec"]["template"]["spec"]["containers"][0]
    assert asking["image"] == operator["image"]
    assert asking["command"] == ["python", "-m", pgbouncer.__name__]
    assert secret_keys(asking) == {("r-voice-agent-database-roles", "stats-password")}
    without = find(render(), "Deployment", "pgbouncer")["spec"]["template"]["spec"]["containers"]
    assert [each["name"] for each in without] == ["agents", "services"]
    assert "voice_stats" not in json.dumps(find(render(), "ConfigMap", "pgbouncer"))


def test_livekit_serves_its_own_at_the_port_that_is_named(monitored: list[Raw]) -> None:
    container = find(monitored, "Deployment", "livekit")["spec"]["template"]["spec"]["containers"][0]
    (config,) = (each["value"] for each in container["env"] if each["name"] == "LIVEKIT_CONFIG")
    assert "prometheus: {port: 6789}" in config
    without = render({**EVERYTHING, "livekit": {"ports": {"metrics": None}}})
    assert f"{find(monitored, 'Deployment', 'livekit')['metadata']['name']}" not in [
        each["metadata"]["name"] for each in without if each["kind"] == "PodMonitor"
    ]


def test_alerts_are_of_this_installation_and_lead_to_their_pages(monitored: list[Raw]) -> None:
    (made,) = (each for each in monitored if each["kind"] == "PrometheusRule")
    assert made["metadata"]["labels"]["role"] == "alerts"
    rules = [rule for group in made["spec"]["groups"] for rule in group["rules"]]
    for rule in rules:
        assert f'namespace="{NAMESPACE}"' in rule["expr"]
        assert "SCOPE" not in rule["expr"]
        assert rule["annotations"]["runbook_url"] == f"https://git.example.com/runbooks/{rule['alert']}.md"
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_dashboards_are_where_grafana_s_sidecar_looks(monitored: list[Raw]) -> None:
    made = [each for each in monitored if each["kind"] == "ConfigMap" and "dashboard" in each["metadata"]["name"]]
    assert len(made) == 5
    for each in made:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert each["metadata"]["annotations"] == {"grafana_folder": "Voice"}
        ((name, text),) = each["data"].items()
        assert json.loads(text)["uid"] == name.removesuffix(".json")
