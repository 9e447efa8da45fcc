"""Typical installations (charts/installations): what each says of itself is what the chart makes of it."""

import pytest
import yaml

from local_cluster.layout import REPOSITORY
from testing.chart import environment_of, find, pod_templates, render
from testing.installations import INSTALLATIONS, load_installation


def test_there_are_ten_and_each_says_what_it_is() -> None:
    assert len(INSTALLATIONS) >= 10
    for path in INSTALLATIONS:
        assert path.read_text().startswith("# "), path.name


@pytest.mark.parametrize("name", [path.stem for path in INSTALLATIONS])
def test_it_is_rendered(name: str) -> None:
    objects = render(load_installation(name))
    assert find(objects, "Deployment", "operator")
    assert find(objects, "AgentPool", "default")


def test_a_page_tells_of_each() -> None:
    page = (REPOSITORY / "docs" / "install.md").read_text()
    for path in INSTALLATIONS:
        assert f"(../{path.relative_to(REPOSITORY)})" in page


def test_what_is_rendered_for_gitops_is_the_same_each_time() -> None:
    values = load_installation("gitops")
    assert yaml.safe_dump_all(render(values)) == yaml.safe_dump_all(render(values))


def test_a_database_whose_certificate_is_checked() -> None:
    objects = render(load_installation("cloud"))
    url = environment_of(objects, "Job", "migrations")["DATABASE_URL"]
    assert url.endswith("?sslmode=verify-full&sslrootcert=/etc/voice-agent/postgres-ca/ca.crt")
    job = find(objects, "Job", "migrations")["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in job["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in job["volumes"]}
    assert volumes[mounts["/etc/voice-agent/postgres-ca"]]["secret"]["secretName"] == "rds-ca"
    texts = find(objects, "ConfigMap", "pgbouncer")["data"]
    volumes = find(objects, "Deployment", "pgbouncer")["spec"]["template"]["spec"]["volumes"]
    for text, volume in zip((texts["pgbouncer.ini"], texts["services.ini"]), volumes, strict=True):
        assert "server_tls_ca_file = /etc/pgbouncer/ca.crt" in text
        authority = {"secret": {"name": "rds-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
        assert authority in volume["projected"]["sources"]


def test_pods_in_local_mode_reach_a_livekit_elsewhere() -> None:
    policy = find(render(load_installation("shared-livekit")), "NetworkPolicy", "local-egress")
    assert policy["spec"]["egress"][-1] == {
        "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
        "ports": [
            {"port": 80, "protocol": "TCP"},
            {"port": 7880, "protocol": "TCP"},
            {"port": 7881, "protocol": "TCP"},
            {"port": 443, "protocol": "UDP"},
            {"port": 3478, "endPort": 65535, "protocol": "UDP"},
        ],
    }


def test_a_platform_teams_cluster_gets_what_it_asks_of_each_pod() -> None:
    objects = render(load_installation("platform"))
    for name, template in pod_templates(objects):
        spec = template["spec"]
        assert (spec["nodeSelector"], spec["priorityClassName"]) == ({"pool": "voice"}, "calls"), name
        assert spec["tolerations"][-1]["value"] == "voice", name
        assert spec["containers"][0]["image"].startswith("mirror.example.com/voice/"), name
        assert spec["imagePullSecrets"] == [{"name": "mirror"}], name
        assert {"HTTPS_PROXY", "NO_PROXY"} <= {each["name"] for each in spec["containers"][0]["env"]}, name
    pool = find(objects, "AgentPool", "default")["spec"]
    assert pool["image"].startswith("mirror.example.com/voice/")
    assert pool["pod"]["imagePullSecrets"] == [{"name": "mirror"}]


def test_on_openshift_nobody_says_which_user_a_pod_is() -> None:
    for name, template in pod_templates(render(load_installation("openshift"))):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & template["spec"]["securityContext"].keys(), name
        assert not template["spec"].get("hostNetwork"), name
