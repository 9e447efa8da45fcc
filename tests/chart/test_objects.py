"""What the chart renders with several values: rights, hardening, wiring."""

import configparser
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from testing.chart import CHART, WITH_CALLS, Raw, environment_of, find, pod_templates, render, run_helm, secret_keys
from voice_operator.ending import END_SECONDS
from voice_telemetry.start import EXIT_CODE

EXTERNAL: Raw = {
    "livekit": {"enabled": False, "external": {"url": "wss://livekit.example.com", "secret": "lk"}},
    "networkPolicies": {"livekitCidrs": ["192.0.2.0/24"]},
    "postgres": {
        "enabled": False,
        "external": {"host": "db.example.com", "user": "owner", "passwordSecret": "db", "sslmode": "require"},
    },
}
VARIANTS: dict[str, Raw] = {
    "defaults": {},
    "external": EXTERNAL,
    "openai": {"openai": {"apiKeySecret": "openai"}, "imagePullSecrets": [{"name": "registry"}]},
    "api-keys": {"tokenService": {"auth": {"mode": "api-key", "apiKeysSecret": "keys"}}},
    "calls": dict(WITH_CALLS),
    "storage": {
        "postgres": {"storage": {"size": "10Gi", "className": "fast"}},
        "pgbouncer": {"metrics": {"enabled": True}},
    },
    "own secrets": {"secrets": {"create": False}, "admission": {"tenantMaxSessions": 0}},
    "least": {
        "networkPolicies": {"enabled": False},
        "localModels": {"enabled": False},
        "defaultPool": {"create": False},
        "defaultProfile": {"create": False},
    },
}


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def objects(request: pytest.FixtureRequest) -> list[Raw]:
    """The chart's objects under each of the variants."""
    return render(VARIANTS[request.param])


@pytest.fixture(scope="module")
def defaults() -> list[Raw]:
    return render()


def rules_of(role: Raw) -> set[tuple[str, str, str]]:
    """Returns the rights of a Role as (group, resource, verb)."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def rights(group: str, resources: str, verbs: str) -> set[tuple[str, str, str]]:
    return {(group, resource, verb) for resource in resources.split() for verb in verbs.split()}


def test_lint() -> None:
    assert "0 chart(s) failed" in run_helm("lint", "--strict", str(CHART))


def test_exact_rights(objects: list[Raw]) -> None:
    ours = "voiceagents.dev"
    read = "get list watch"
    assert rules_of(find(objects, "Role", "operator")) == (
        rights(ours, "voicesessions", f"{read} create delete")
        | rights(ours, "agentpools agentprofiles", "list watch")
        | rights(ours, "voicesessions/status agentpools/status agentprofiles/status", "patch")
        | rights("", "pods", f"{read} create patch delete")
        | rights("", "events", "create list")
        | rights("", "configmaps", "get list create delete")
        | rights("coordination.k8s.io", "leases", "get create update")
    )
    assert rules_of(find(objects, "Role", "token-service")) == (
        rights(ours, "voicesessions", f"{read} create patch") | rights(ours, "agentpools agentprofiles", "list watch")
    )
    kinds = Counter(item["kind"] for item in objects)
    assert kinds["Role"] == kinds["RoleBinding"] == kinds["ServiceAccount"] == 2
    assert not kinds.keys() & {"ClusterRole", "ClusterRoleBinding"}
    for binding in (item for item in objects if item["kind"] == "RoleBinding"):
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": binding["roleRef"]["name"], "namespace": "voice"}
        ]


def test_an_operator_stands_by_on_another_node_where_there_is_one(defaults: list[Raw]) -> None:
    spec = find(defaults, "Deployment", "operator")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, "the next is ready before"
    pod = spec["template"]["spec"]
    (spread,) = pod["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert spread["labelSelector"] == spec["selector"]
    assert pod["terminationGracePeriodSeconds"] > END_SECONDS
    budget = find(defaults, "PodDisruptionBudget", "operator")["spec"]
    assert budget == {"maxUnavailable": 1, "selector": spec["selector"]}


def test_one_operator_can_be_chosen_and_drained() -> None:
    objects = render({"operator": {"replicas": 1}})
    assert find(objects, "Deployment", "operator")["spec"]["replicas"] == 1
    assert find(objects, "PodDisruptionBudget", "operator")["spec"]["maxUnavailable"] == 1


def test_an_operator_knows_its_pod_and_its_release(defaults: list[Raw]) -> None:
    environment = environment_of(defaults, "Deployment", "operator")
    assert environment["RELEASE_NAME"] == "r"
    assert environment["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert environment["NODE_NAME"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}


@pytest.mark.parametrize("seconds", [10, 60])
def test_every_part_leaves_a_lost_node_soon_but_the_one_with_the_data(seconds: int) -> None:
    objects = render({} if seconds == 10 else {"lostNodeSeconds": seconds})
    taints = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
    templates = dict(pod_templates(objects))
    assert "tolerations" not in templates.pop("r-voice-agent-postgres")["spec"]
    for name, template in templates.items():
        assert template["spec"]["tolerations"] == [
            {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
            for taint in taints
        ], name


def test_postgres_has_its_place() -> None:
    objects = render({"postgres": {"nodeSelector": {"disk": "ssd"}}})
    assert dict(pod_templates(objects))["r-voice-agent-postgres"]["spec"]["nodeSelector"] == {"disk": "ssd"}


def test_only_two_pods_hold_a_kubernetes_token(objects: list[Raw]) -> None:
    tokens = {
        name: template["spec"].get("automountServiceAccountToken", True) for name, template in pod_templates(objects)
    }
    assert {name for name, mounted in tokens.items() if mounted} == {
        "r-voice-agent-operator",
        "r-voice-agent-token-service",
    }
    for account in (item for item in objects if item["kind"] == "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_every_container_is_hardened(objects: list[Raw]) -> None:
    for name, template in pod_templates(objects):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] == 10001, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec.get("hostNetwork", False) is (name == "r-voice-agent-livekit"), name
        assert not {"hostPID", "hostIPC", "initContainers"} & spec.keys(), name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name
            assert "cpu" not in container["resources"]["limits"], name
        assert all("hostPath" not in volume for volume in spec.get("volumes", [])), name


def test_no_variable_holds_a_secret(objects: list[Raw]) -> None:
    for name, template in pod_templates(objects):
        for variable in template["spec"]["containers"][0].get("env", []):
            if re.search("PASSWORD|API_SECRET$|API_KEY$|_KEYS$", variable["name"]):
                assert "secretKeyRef" in variable["valueFrom"], (name, variable["name"])
            if variable["name"] == "DATABASE_URL" and "value" in variable:
                assert re.fullmatch(r"postgresql://\w+@[^:@]+:\d+/voice\?sslmode=[\w-]+", variable["value"]), name


def test_selectors_choose_their_own_pods(objects: list[Raw]) -> None:
    templates = dict(pod_templates(objects))
    for item in objects:
        selector = item.get("spec", {}).get("selector")
        if item["kind"] in {"Deployment", "StatefulSet", "Service"}:
            wanted = selector.get("matchLabels", selector)
            chosen = [
                name for name, template in templates.items() if wanted.items() <= template["metadata"]["labels"].items()
            ]
            assert chosen == [item["metadata"]["name"]]


def test_only_token_service_and_operator_have_the_installation_s_key(defaults: list[Raw]) -> None:
    keys = "r-voice-agent-keys"
    seen = {
        name.removeprefix("r-voice-agent-"): {key for secret, key in secret_keys(template["spec"]) if secret == keys}
        for name, template in pod_templates(defaults)
        if keys in json.dumps(template)
    }
    # The operator has the Secret whole.
    assert seen == {"operator": set(), "token-service": {"installation-key"}, "migrations": {"conversation-key"}}
    for part in ("operator", "token-service"):
        container = find(defaults, "Deployment", part)["spec"]["template"]["spec"]["containers"][0]
        environment = {each["name"]: each.get("value") for each in container["env"]}
        mounts = {each["mountPath"] for each in container["volumeMounts"]}
        assert str(Path(environment["INSTALLATION_KEY_FILE"]).parent) in mounts


def test_the_page_of_calls_is_wired_where_it_is_on_and_nowhere_else() -> None:
    on, off = render(WITH_CALLS), render({"tokenService": {"auth": WITH_CALLS["tokenService"]["auth"]}})
    service = environment_of(on, "Deployment", "token-service")
    assert (service["CALLS_PAGE"], service["CALLS_PAGE_ALL_TENANTS"]) == ("true", "sre,ops")
    assert service["CALLS_DATABASE_URL"]["secretKeyRef"]["key"] == "viewer-url"
    migrations = environment_of(on, "Job", "migrations")
    assert migrations["VIEWER_DATABASE_PASSWORD"]["secretKeyRef"]["key"] == "viewer-password"
    assert "voice_reader,voice_closer,voice_viewer " in find(on, "ConfigMap", "pgbouncer")["data"]["services.hba"]
    assert "viewer" not in json.dumps(off)
    assert not any("CALLS" in name for name in environment_of(off, "Deployment", "token-service"))
    assert "viewer" not in json.dumps(find(on, "Deployment", "operator"))


@pytest.mark.parametrize("values", [{}, WITH_CALLS], ids=["", "calls"])
@pytest.mark.parametrize("replicas", [0, 1, 2, 7])
@pytest.mark.parametrize(("least", "most"), [(5, 30), (0, 28), (2, 28), (41, 41), (100, 1000)])
def test_pgbouncer_keeps_the_connection_limits(least: int, most: int, replicas: int, values: Raw) -> None:
    database = {"minConnections": least, "maxConnections": most, "maxClients": 900}
    objects = render({"database": database, "pgbouncer": {"replicas": replicas}, **values})
    texts = find(objects, "ConfigMap", "pgbouncer")["data"]
    agents, services = (read_ini(texts[name]) for name in ("pgbouncer.ini", "services.ini"))
    for settings in (agents["pgbouncer"], services["pgbouncer"]):
        assert (settings["pool_mode"], settings["server_reset_query_always"]) == ("statement", "1")
        assert int(settings["query_wait_timeout"]) < int(settings["query_timeout"]), "whoever waits is told so"
    assert agents["pgbouncer"]["max_client_conn"] == "900"
    assert agents["pgbouncer"]["default_pool_size"] == agents["pgbouncer"]["max_db_connections"]
    roles = ["voice_reader", "voice_closer", *(["voice_viewer"] if values else [])]
    assert list(services["users"]) == roles
    granted = [int(services["users"][role].removeprefix("max_user_connections=")) for role in roles]
    together = int(services["pgbouncer"]["max_db_connections"])
    assert min(granted) >= 1
    assert sum(granted) == together == int(services["pgbouncer"]["default_pool_size"])
    agent = int(agents["pgbouncer"]["max_db_connections"])
    assert agent >= together / 3
    assert most - max(1, replicas) < (agent + together) * max(1, replicas) <= most
    kept = int(agents["pgbouncer"]["min_pool_size"]) + len(roles) * int(services["pgbouncer"]["min_pool_size"])
    assert kept * max(1, replicas) <= least
    assert kept == least // max(1, replicas) or int(agents["pgbouncer"]["min_pool_size"]) == agent


def read_ini(text: str) -> configparser.ConfigParser:
    """Returns PgBouncer's settings."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return parser


@pytest.mark.parametrize(("wanted", "made"), [(30, 300), (140, 300), (141, 302)])
def test_postgres_has_room_for_the_pool_and_for_people(wanted: int, made: int) -> None:
    objects = render({"database": {"maxConnections": wanted}})
    arguments = find(objects, "StatefulSet", "postgres")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments == ["-c", f"max_connections={made}"]
    granted = int(environment_of(objects, "Job", "migrations")["AGENT_CONNECTION_LIMIT"])
    assert wanted < granted < made - 10, "a new PgBouncer begins beside the old one, and others have room"


@pytest.mark.parametrize(("size", "strategy"), [("", {"type": "OnDelete", "rollingUpdate": None}), ("10Gi", None)])
def test_an_upgrade_takes_no_database_away_that_has_no_volume(size: str, strategy: Raw | None) -> None:
    objects = render({"postgres": {"storage": {"size": size}}})
    assert find(objects, "StatefulSet", "postgres")["spec"].get("updateStrategy") == strategy


def test_no_probe_ends_a_postgres_that_recovers_or_is_full(defaults: list[Raw], tmp_path: Path) -> None:
    container = find(defaults, "StatefulSet", "postgres")["spec"]["template"]["spec"]["containers"][0]
    probe = tmp_path / "pg_isready"
    for answer, is_alive in {0: True, 1: True, 2: False, 3: False}.items():
        probe.write_text(f"#!/bin/sh\nexit {answer}\n")
        probe.chmod(0o755)
        for kind in ("livenessProbe", "startupProbe"):
            command = container[kind]["exec"]["command"]
            done = subprocess.run(command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, timeout=10, check=False)
            assert (done.returncode == 0) is is_alive, (kind, answer)


@pytest.mark.parametrize(
    "changed",
    [
        {"logLevel": "DEBUG"},
        {"admission": {"maxTicketAgeSeconds": 300, "tenantMaxSessions": 5}},
        {"operator": {"replicas": 3, "roomPollSeconds": 9}},
        {"tokenService": {"replicas": 3, "auth": {"mode": "api-key", "apiKeysSecret": "keys"}}},
        {"database": {"minConnections": 7, "maxConnections": 100, "maxClients": 900}},
        {"pgbouncer": {"replicas": 2}, "localModels": {"replicas": 2}},
        {"openai": {"apiKeySecret": "openai"}, "defaultPool": {"warm": {"min": 3, "max": 20}}},
        {"networkPolicies": {"enabled": False}},
    ],
    ids="-".join,
)
def test_what_calls_and_conversations_hang_on_is_restarted_by_its_own_values_alone(changed: Raw) -> None:
    before, after = (dict(pod_templates(render(values))) for values in ({}, changed))
    for name in ("r-voice-agent-livekit", "r-voice-agent-postgres"):
        assert after[name] == before[name], name


def test_an_upgrade_of_the_chart_alone_restarts_nothing(defaults: list[Raw]) -> None:
    for name, template in pod_templates(defaults):
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & template["metadata"]["labels"].keys(), name


def test_default_pool_is_local_only(defaults: list[Raw]) -> None:
    pools = [item for item in defaults if item["kind"] == "AgentPool"]
    assert [pool["metadata"]["name"] for pool in pools] == ["default"]
    (provider,) = pools[0]["spec"]["providers"]
    assert provider["local"] is True
    assert "secretRef" not in provider
    assert find(defaults, "AgentProfile", "default")["spec"] == {"pool": "default"}


def test_an_openai_key_adds_its_provider_and_sets_local_mode_apart() -> None:
    values = {"openai": {"apiKeySecret": "openai", "baseUrl": "https://proxy.example.com/v1"}}
    objects = render({**values, "defaultProfile": {"spec": {"greeting": "Hi."}}})
    default, local = (find(objects, "AgentPool", name)["spec"] for name in ("default", "local"))
    assert [provider["name"] for provider in default["providers"]] == ["openai", "local"]
    assert default["providers"][0]["secretRef"] == {"name": "openai", "key": "api-key"}
    assert default["providers"][0]["llm"]["baseUrl"] == "https://proxy.example.com/v1"
    assert [provider["name"] for provider in local["providers"]] == ["local"]
    profile = find(objects, "AgentProfile", "default")["spec"]
    assert profile == {"pool": "default", "localPool": "local", "greeting": "Hi."}


def test_a_pool_without_pods_that_wait_has_none_for_local_mode_either() -> None:
    objects = render({"openai": {"apiKeySecret": "openai"}, "defaultPool": {"warm": {"min": 0, "max": 0}}})
    assert find(objects, "AgentPool", "local")["spec"]["warm"] == {"min": 0, "max": 0}


def test_what_the_default_pools_code_is_given_may_be_keys_and_goes_to_no_pool_for_local_mode() -> None:
    code = {"env": [{"name": "A", "value": "1"}], "envFrom": [{"secretRef": {"name": "s"}}]}
    code |= {"volumes": [{"name": "v", "emptyDir": {}}], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    settings = {"serviceAccountName": "acme", "nodeSelector": {"disk": "fast"}}
    objects = render({"openai": {"apiKeySecret": "openai"}, "defaultPool": {**code, "pod": settings}})
    default, local = (find(objects, "AgentPool", name)["spec"] for name in ("default", "local"))
    assert {name: default[name] for name in (*code, "pod")} == {**code, "pod": settings}
    assert not code.keys() & local.keys()
    assert local["pod"] == {"nodeSelector": {"disk": "fast"}}


def test_a_quota_that_wants_limits_of_every_pod_can_be_served() -> None:
    wanted = {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}
    parts = ("operator", "tokenService", "livekit", "postgres", "pgbouncer", "localModels", "migrations", "test")
    objects = render({part: {"resources": {"requests": wanted, "limits": wanted}} for part in parts})
    for name, template in pod_templates(objects):
        for container in template["spec"]["containers"]:
            assert container["resources"] == {"requests": wanted, "limits": wanted}, name


def test_own_providers_replace_ours() -> None:
    own = [{"name": "mine", "realtime": {"model": "m"}, "secretRef": {"name": "s"}}]
    objects = render({"defaultPool": {"providers": own}})
    (made,) = find(objects, "AgentPool", "default")["spec"]["providers"]
    added = {"local": False, "realtime": {"model": "m", "voice": "alloy"}, "secretRef": {"name": "s", "key": "api-key"}}
    assert made == {**own[0], **added}, "as the API server completes it"
    assert find(objects, "AgentProfile", "default")["spec"] == {"pool": "default"}


def test_code_that_brings_its_own_models_needs_no_providers() -> None:
    objects = render({"localModels": {"enabled": False}, "defaultPool": {"code": "acme.bot"}})
    assert "providers" not in find(objects, "AgentPool", "default")["spec"]


def test_external_livekit_and_postgres() -> None:
    objects = render(EXTERNAL)
    names = {item["metadata"]["name"] for item in objects}
    assert not names & {"r-voice-agent-livekit", "r-voice-agent-postgres", "r-voice-agent-database-owner"}
    for component in ("operator", "token-service"):
        environment = environment_of(objects, "Deployment", component)
        assert environment["LIVEKIT_URL"] == "wss://livekit.example.com"
        assert environment["LIVEKIT_API_SECRET"] == {"secretKeyRef": {"name": "lk", "key": "api-secret"}}
    assert environment["LIVEKIT_PUBLIC_URL"] == "wss://livekit.example.com"
    job = environment_of(objects, "Job", "migrations")
    assert job["DATABASE_URL"] == "postgresql://owner@db.example.com:5432/voice?sslmode=require"
    assert job["PGPASSWORD"] == {"secretKeyRef": {"name": "db", "key": "password"}}
    ini = find(objects, "ConfigMap", "pgbouncer")["data"]["pgbouncer.ini"]
    assert "voice = host=db.example.com port=5432 dbname=voice" in ini
    assert "server_tls_sslmode = require" in ini


def test_a_failed_migration_says_why_where_helm_looks_and_is_not_repeated(defaults: list[Raw]) -> None:
    job = find(defaults, "Job", "migrations")
    annotations = job["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "post-install,post-upgrade,post-rollback"
    assert annotations["helm.sh/hook-output-log-policy"] == "hook-failed"
    assert "hook-failed" not in annotations["helm.sh/hook-delete-policy"], "the pod stays, with what it said"
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (pod["restartPolicy"], container["terminationMessagePolicy"]) == ("Never", "FallbackToLogsOnError")
    (rule,) = [rule for rule in job["spec"]["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
    assert rule["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [1, EXIT_CODE]}


def test_a_slow_registry_fails_no_migration() -> None:
    for seconds in (0, 240):
        job = find(render({"migrations": {"databaseWaitSeconds": seconds}}), "Job", "migrations")
        assert job["spec"]["activeDeadlineSeconds"] >= seconds + 600


def test_roles_that_others_make_are_only_looked_at() -> None:
    for create in (True, False):
        objects = render({**EXTERNAL, "database": {"roles": {"create": create}}})
        made = environment_of(objects, "Job", "migrations")["CREATE_DATABASE_ROLES"]
        assert made == str(create).lower()


@pytest.mark.parametrize(
    ("host", "user", "address"),
    [
        ("db", "voice@acme", "voice%40acme@db:5432"),
        ("10.20.0.5", "voice", "voice@10.20.0.5:5432"),
        ("fd00::5", "voice", "voice@[fd00::5]:5432"),
    ],
)
def test_an_owner_s_and_a_host_s_name_stand_in_a_url(host: str, user: str, address: str) -> None:
    external = {**EXTERNAL["postgres"]["external"], "host": host, "user": user}
    objects = render({"postgres": {"enabled": False, "external": external}})
    url = environment_of(objects, "Job", "migrations")["DATABASE_URL"]
    assert url == f"postgresql://{address}/voice?sslmode=require"
    assert f"host={host} " in find(objects, "ConfigMap", "pgbouncer")["data"]["pgbouncer.ini"]


def test_a_secret_s_name_may_be_a_number() -> None:
    livekit = {"enabled": False, "external": {"url": "ws://livekit.example.com", "secret": "1"}}
    external = {**EXTERNAL["postgres"]["external"], "passwordSecret": "2", "sslmode": "verify-ca", "caSecret": "3"}
    objects = render({"livekit": livekit, "postgres": {"enabled": False, "external": external}})
    named = {name for _, template in pod_templates(objects) for name, _ in secret_keys(template["spec"])}
    assert {"1", "2", "3"} <= named


def test_livekit_is_told_its_ports_and_webhook() -> None:
    ports = {"http": 7980, "tcp": 7981, "udp": 7982}
    objects = render(
        {"livekit": {"ports": ports, "publicUrl": "wss://voice.example.com", "nodeSelector": {"disk": "fast"}}}
    )
    settings = yaml.safe_load(environment_of(objects, "Deployment", "livekit")["LIVEKIT_CONFIG"])
    assert settings["port"] == 7980
    assert (settings["rtc"]["tcp_port"], settings["rtc"]["udp_port"]) == (7981, 7982)
    assert settings["rtc"]["stun_servers"] == ["127.0.0.1:9"], "without any, it names public ones"
    assert settings["webhook"]["urls"] == ["http://r-voice-agent-token-service:3000/livekit/webhook"]
    assert environment_of(objects, "Deployment", "operator")["LIVEKIT_URL"] == "ws://r-voice-agent-livekit:7980"
    public = environment_of(objects, "Deployment", "token-service")["LIVEKIT_PUBLIC_URL"]
    assert public == "wss://voice.example.com"
    policy = find(objects, "NetworkPolicy", "local-egress")
    assert {port["port"] for port in policy["spec"]["egress"][-1]["ports"]} == set(ports.values())


def test_livekit_has_a_log_level_of_its_own() -> None:
    objects = render({"logLevel": "ERROR", "livekit": {"logLevel": "debug"}})
    settings = yaml.safe_load(environment_of(objects, "Deployment", "livekit")["LIVEKIT_CONFIG"])
    assert settings["logging"]["level"] == "debug"


def test_tenant_limit_of_none_and_zero_differ() -> None:
    for value, expected in ((None, None), (0, "0"), (5, "5")):
        objects = render({"admission": {"tenantMaxSessions": value}})
        for component in ("operator", "token-service"):
            assert environment_of(objects, "Deployment", component).get("TENANT_MAX_SESSIONS") == expected
