"""Wrong values are refused by the chart in a sentence that names the value, and says what to write."""

from typing import Any

import pytest
import yaml

from testing.chart import CHART, WITH_CALLS, HelmError, environment_of, render, run_helm

Values = dict[str, Any]

OPEN: Values = {"mode": "open"}
DIGEST = "sha256:" + "0123456789abcdef" * 4
ISSUER: Values = {"issuer": "https://login.example.com", "audience": "voice"}
PROXIES: Values = {"trustedProxies": ["10.0.0.0/8"]}
EXTERNAL_POSTGRES: Values = {"host": "db.example.com", "user": "owner", "passwordSecret": "db"}


def postgres(**external: Any) -> Values:
    """Returns the values of an external Postgres, with some of them others."""
    return {"postgres": {"enabled": False, "external": {**EXTERNAL_POSTGRES, **external}}}


def provider(**parts: Any) -> Values:
    """Returns the values of a pool whose one provider has these parts beside sound ones."""
    models = {part: {"model": "m"} for part in ("stt", "llm", "tts")}
    return {"defaultPool": {"providers": [{"name": "mine", **models, **parts}]}}


# What the schema says: where, and what there.
BY_SCHEMA: list[tuple[Values, str, str]] = [
    # Misspelt, on every level.
    ({"tokenServise": {}}, "", "'tokenServise' not allowed"),
    ({"operator": {"leaderElect": False}}, "/operator", "'leaderElect' not allowed"),
    ({"operator": {"resources": {"limit": {}}}}, "/operator/resources", "'limit' not allowed"),
    ({"operator": {"resources": {"limits": {"mem": "1Gi"}}}}, "/operator/resources/limits", "'mem' not allowed"),
    ({"tokenService": {"auth": {"secret": "s"}}}, "/tokenService/auth", "'secret' not allowed"),
    ({"livekit": {"ports": {"rtc": 7883}}}, "/livekit/ports", "'rtc' not allowed"),
    ({"postgres": {"external": {"sslMode": "require"}}}, "/postgres/external", "'sslMode' not allowed"),
    ({"defaultPool": {"warm": {"minimum": 5}}}, "/defaultPool/warm", "'minimum' not allowed"),
    ({"defaultPool": {"resources": {"limits": {}}}}, "/defaultPool/resources", "'limits' not allowed"),
    (
        {"defaultPool": {"pod": {"tolerations": [{"keys": "a"}]}}},
        "/defaultPool/pod/tolerations/0",
        "'keys' not allowed",
    ),
    ({"defaultPool": {"pod": {"affinity": {"node": {}}}}}, "/defaultPool/pod/affinity", "'node' not allowed"),
    (
        {"defaultPool": {"pod": {"topologySpreadConstraints": [{"topologyKey": "zone"}]}}},
        "/defaultPool/pod/topologySpreadConstraints/0",
        "missing properties 'maxSkew', 'whenUnsatisfiable'",
    ),
    (provider(stt={"model": "m", "url": "http://a"}), "/defaultPool/providers/0/stt", "'url' not allowed"),
    ({"defaultProfile": {"spec": {"greetings": "Hi."}}}, "/defaultProfile/spec", "'greetings' not allowed"),
    ({"defaultProfile": {"spec": {"limits": {"max": 5}}}}, "/defaultProfile/spec/limits", "'max' not allowed"),
    (
        {"networkPolicies": {"localEgress": [{"to": [{"podSelektor": {}}]}]}},
        "/networkPolicies/localEgress/0/to/0",
        "'podSelektor' not allowed",
    ),
    # Of another kind.
    ({"lostNodeSeconds": "10s"}, "/lostNodeSeconds", "got string, want integer"),
    ({"livekit": {"enabled": "no"}}, "/livekit/enabled", "got string, want boolean"),
    ({"imagePullSecrets": ["registry"]}, "/imagePullSecrets/0", "got string, want object"),
    ({"openai": {"apiKeySecret": 42}}, "/openai/apiKeySecret", "got number, want string"),
    ({"defaultPool": {"env": {"A": "1"}}}, "/defaultPool/env", "got object, want array"),
    # Nothing where something is needed.
    ({"postgres": None}, "", "missing property 'postgres'"),
    ({"tokenService": {"auth": None}}, "/tokenService", "missing property 'auth'"),
    ({"livekit": {"ports": None}}, "/livekit", "missing property 'ports'"),
    ({"defaultPool": {"warm": None}}, "/defaultPool", "missing property 'warm'"),
    ({"openai": {"llm": {"model": ""}}}, "/openai/llm/model", "minLength: got 0, want 1"),
    ({"images": {"agent": {"repository": ""}}}, "/images/agent/repository", "'' does not match pattern"),
    # Too much, too little, another word.
    ({"operator": {"replicas": 6}}, "/operator/replicas", "maximum: got 6, want 5"),
    ({"tokenService": {"rateLimits": {"perAddress": -1}}}, "/tokenService/rateLimits/perAddress", "minimum: got -1"),
    ({"tokenService": {"trustedProxies": ["10.0.0.1"]}}, "/tokenService/trustedProxies/0", "'10.0.0.1'"),
    (
        {"tokenService": {"auth": {"oidc": {"algorithms": ["HS256"]}}}},
        "/tokenService/auth/oidc/algorithms/0",
        "'ES256'",
    ),
    ({"tokenService": {"auth": {"oidc": {"issuer": "acme"}}}}, "/tokenService/auth/oidc/issuer", "'acme'"),
    ({"tokenService": {"replicas": -1}}, "/tokenService/replicas", "minimum: got -1, want 0"),
    ({"tokenService": {"tokenLifetimeSeconds": 5}}, "/tokenService/tokenLifetimeSeconds", "minimum: got 5, want 10"),
    ({"database": {"maxConnections": 2}}, "/database/maxConnections", "minimum: got 2, want 3"),
    ({"livekit": {"ports": {"http": 80}}}, "/livekit/ports/http", "minimum: got 80, want 1,024"),
    ({"tokenService": {"service": {"type": "Ingress"}}}, "/tokenService/service/type", "'NodePort', 'LoadBalancer'"),
    ({"localModels": {"service": {"nodePort": 8080}}}, "/localModels/service/nodePort", "got 8,080, want 30,000"),
    ({"metrics": {"podMonitor": {"interval": "15"}}}, "/metrics/podMonitor/interval", "does not match pattern"),
    ({"metrics": {"prices": [{"provider": "a"}]}}, "/metrics/prices/0", "missing property 'model'"),
    ({"metrics": {"alerts": {"runbooks": "docs"}}}, "/metrics/alerts/runbooks", "does not match pattern"),
    ({"livekit": {"logLevel": "WARNING"}}, "/livekit/logLevel", "value must be one of 'debug', 'info', 'warn'"),
    ({"logLevel": "loud"}, "/logLevel", "value must be one of 'DEBUG'"),
    ({"tokenService": {"callsPage": {"allTenants": ["a,b"]}}}, "/tokenService/callsPage/allTenants/0", "'a,b'"),
    ({"tokenService": {"auth": {"mode": "password"}}}, "/tokenService/auth/mode", "'open', 'api-key', 'oidc'"),
    (postgres(sslmode="on"), "/postgres/external/sslmode", "value must be one of 'disable'"),
    ({"defaultPool": {"vad": "webrtc"}}, "/defaultPool/vad", "value must be one of 'native', 'silero'"),
    ({"defaultPool": {"disruption": {"onDrain": "Stay"}}}, "/defaultPool/disruption/onDrain", "'Move', 'Wait'"),
    ({"defaultPool": {"warm": {"buffer": "a fifth"}}}, "/defaultPool/warm/buffer", "'a fifth' does not match"),
    ({"defaultPool": {"warm": {"buffer": -1}}}, "/defaultPool/warm/buffer", "minimum: got -1, want 0"),
    # Amounts.
    ({"operator": {"resources": {"limits": {"memory": "1GB"}}}}, "/operator/resources/limits/memory", "'1GB'"),
    ({"operator": {"resources": {"limits": {"memory": "1.2.3Gi"}}}}, "/operator/resources/limits/memory", "'1.2.3Gi'"),
    ({"operator": {"resources": {"limits": {"memory": 512}}}}, "/operator/resources/limits/memory", "got 512, want"),
    ({"livekit": {"resources": {"requests": {"cpu": "100Mi"}}}}, "/livekit/resources/requests/cpu", "'100Mi'"),
    ({"postgres": {"storage": {"size": "large"}}}, "/postgres/storage/size", "'large' does not match"),
    ({"defaultPool": {"resources": {"memoryLimit": "1GB"}}}, "/defaultPool/resources/memoryLimit", "'1GB'"),
    # Names, addresses, networks.
    ({"images": {"agent": "registry.example.com/agent:1"}}, "/images/agent", "got string, want object"),
    ({"images": {"agent": {"repository": "two words"}}}, "/images/agent/repository", "'two words'"),
    ({"images": {"agent": {"digest": "sha256:0123"}}}, "/images/agent/digest", "'sha256:0123'"),
    ({"images": {"digests": {"agent": DIGEST}}}, "/images/digests", "'agent' not allowed"),
    ({"images": {"registry": "https://registry.example.com"}}, "/images/registry", "'https://registry.example.com'"),
    ({"global": {"imageRegistry": "two words"}}, "/global/imageRegistry", "'two words'"),
    ({"pods": {"tolerations": [{"keys": "a"}]}}, "/pods/tolerations/0", "'keys' not allowed"),
    ({"operator": {"affinity": {"node": {}}}}, "/operator/affinity", "'node' not allowed"),
    ({"livekit": {"podLabels": {"team": "a b"}}}, "/livekit/podLabels/team", "'a b'"),
    ({"pods": {"extraEnv": [{"name": "A", "val": "1"}]}}, "/pods/extraEnv/0", "'val' not allowed"),
    ({"secrets": {"keys": {"existingSecret": "My_Keys"}}}, "/secrets/keys/existingSecret", "'My_Keys'"),
    ({"fullnameOverride": "a" * 44}, "/fullnameOverride", "maxLength: got 44, want 43"),
    ({"userId": 0}, "/userId", "minimum: got 0, want 1"),
    ({"tokenService": {"ingress": {"hosts": ["https://a"]}}}, "/tokenService/ingress/hosts/0", "'https://a'"),
    (postgres(passwordSecret="My_Secret"), "/postgres/external/passwordSecret", "'My_Secret'"),
    ({"imagePullSecrets": [{"name": "Registry"}]}, "/imagePullSecrets/0/name", "'Registry'"),
    (postgres(host="db:5432"), "/postgres/external/host", "'db:5432'"),
    (postgres(host="db pool_size=1"), "/postgres/external/host", "'db pool_size=1'"),
    (postgres(user='o"wner'), "/postgres/external/user", "does not match"),
    (postgres(port=70000), "/postgres/external/port", "maximum: got 70,000, want 65,535"),
    ({"database": {"name": "voice; drop"}}, "/database/name", "'voice; drop'"),
    ({"livekit": {"publicUrl": "https://livekit.example.com"}}, "/livekit/publicUrl", "'https://livekit.example.com'"),
    ({"livekit": {"nodeSelector": {"zone": "a b"}}}, "/livekit/nodeSelector/zone", "'a b'"),
    ({"openai": {"baseUrl": "proxy.example.com/v1"}}, "/openai/baseUrl", "'proxy.example.com/v1'"),
    ({"tokenService": {"corsAllowedOrigins": ["shop.example.com"]}}, "/tokenService/corsAllowedOrigins/0", "'shop."),
    ({"networkPolicies": {"livekitCidrs": ["10.0.0.0"]}}, "/networkPolicies/livekitCidrs/0", "'10.0.0.0'"),
    ({"networkPolicies": {"livekitCidrs": ["999.1.1.1/99"]}}, "/networkPolicies/livekitCidrs/0", "'999.1.1.1/99'"),
    ({"networkPolicies": {"livekitCidrs": ["10.0.0.0/33"]}}, "/networkPolicies/livekitCidrs/0", "'10.0.0.0/33'"),
    ({"defaultPool": {"code": "src/bot.py"}}, "/defaultPool/code", "does not match"),
    ({"defaultPool": {"env": [{"name": "MY-KEY", "value": "1"}]}}, "/defaultPool/env/0/name", "'MY-KEY'"),
    (provider(name="My Models"), "/defaultPool/providers/0/name", "'My Models'"),
    ({"defaultProfile": {"spec": {"language": "German!"}}}, "/defaultProfile/spec/language", "'German!'"),
]


@pytest.mark.parametrize(("values", "where", "words"), BY_SCHEMA)
def test_the_schema_refuses(values: Values, where: str, words: str) -> None:
    (line,) = [line for line in refusal(values).splitlines() if line.startswith("- at ")]
    assert line.startswith(f"- at '{where}': ")
    assert words in line


# Sound each by itself; and the sentence's beginning, or what matters of it.
CONTRADICTIONS: list[tuple[Values, str]] = [
    ({"tokenService": {"auth": {"mode": "api-key"}}}, "tokenService.auth.apiKeysSecret: name the Secret"),
    ({"tokenService": {"auth": {"apiKeysSecret": "k"}}}, "with tokenService.auth.mode=none anybody may start calls"),
    (
        {"tokenService": {"auth": {"mode": "oidc", "apiKeysSecret": "k", "oidc": ISSUER}}},
        "tokenService.auth.apiKeysSecret: with tokenService.auth.mode=oidc only who has a token",
    ),
    (
        {"tokenService": {"auth": {"mode": "oidc", "oidc": {"issuer": "https://login.example.com"}}}},
        "tokenService.auth.oidc.audience: say what",
    ),
    ({"tokenService": {"auth": {"mode": "oidc", "oidc": {"audience": "voice"}}}}, "tokenService.auth.oidc.issuer: say"),
    ({"tokenService": {"auth": {"oidc": ISSUER}}}, "tokenService.auth.oidc: with tokenService.auth.mode=none no"),
    (
        {"tokenService": {"service": {"type": "LoadBalancer"}}},
        "tokenService.service.type=LoadBalancer: tokenService.auth",
    ),
    ({"tokenService": {"service": {"type": "NodePort"}}}, "tokenService.service.type=NodePort: tokenService.auth"),
    ({"tokenService": {"corsAllowedOrigins": ["*"]}}, "tokenService.corsAllowedOrigins has `*`"),
    ({"tokenService": {"callsPage": {"enabled": True}}}, "tokenService.auth.mode=none anybody would read every call"),
    (
        {"tokenService": {"callsPage": {"enabled": True}, "auth": {"mode": "open"}}},
        "tokenService.callsPage.enabled=true: with tokenService.auth.mode=open anybody would read every call",
    ),
    ({"tokenService": {"callsPage": {"allTenants": ["sre"]}}}, "tokenService.callsPage.allTenants: tokenService.calls"),
    (
        {**WITH_CALLS, "database": {"minConnections": 0, "maxConnections": 3}},
        "database.maxConnections (3) is shared by pgbouncer.replicas (1), of which each needs 4 at least",
    ),
    ({"tokenService": {"tokenLifetimeSeconds": 300}}, "tokenService.tokenLifetimeSeconds (300) must not be above"),
    ({"tokenService": {"service": {"nodePort": 30300}}}, "tokenService.service.nodePort: a Service of type ClusterIP"),
    ({"localModels": {"service": {"nodePort": 30300}}}, "localModels.service.nodePort: a Service of type ClusterIP"),
    (
        {"tokenService": {"ingress": {"enabled": True, "hosts": ["a.example.com"]}}},
        "tokenService.ingress.enabled=true: tokenService.auth.mode=none",
    ),
    (
        {"tokenService": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}}},
        "tokenService.httpRoute.enabled=true: tokenService.auth.mode=none",
    ),
    (
        {"tokenService": {"auth": OPEN, **PROXIES, "ingress": {"enabled": True}}},
        "tokenService.ingress.hosts: name the host",
    ),
    (
        {"tokenService": {"auth": OPEN, **PROXIES, "httpRoute": {"enabled": True}}},
        "tokenService.httpRoute.parentRefs: name the",
    ),
    (
        {"tokenService": {"auth": OPEN, "ingress": {"enabled": True, "hosts": ["a.example.com"]}}},
        "tokenService.trustedProxies: name the networks of the proxies in front, or all customers together may ask 600",
    ),
    ({"tokenService": {"autoscaling": {"minReplicas": 11}}}, "tokenService.autoscaling.minReplicas (11) must not be"),
    (
        {"localModels": {"service": {"loadBalancerClass": "lb"}}},
        "localModels.service.loadBalancerClass: only a Service of type LoadBalancer has it",
    ),
    (
        {"tokenService": {"service": {"externalTrafficPolicy": "Local"}}},
        "tokenService.service.externalTrafficPolicy: a Service of type ClusterIP has none",
    ),
    (
        {"operator": {"serviceAccount": {"create": False}}},
        "operator.serviceAccount.name: name the ServiceAccount",
    ),
    (
        {"secrets": {"databaseRoles": {"existingSecret": "ours"}}},
        "secrets.databaseRoles.existingSecret and secrets.agentDatabase.existingSecret",
    ),
    ({"livekit": {"enabled": False, "external": {"url": "ws://lk"}}}, "livekit.external.secret: name the Secret"),
    ({"livekit": {"enabled": False, "external": {"secret": "lk"}}}, "livekit.external.url: write the address"),
    ({"livekit": {"external": {"url": "wss://lk"}}}, "livekit.external.url: livekit.enabled=true runs"),
    ({"livekit": {"nodeSelector": {"zone": "a"}}}, "livekit.publicUrl: say at which address"),
    ({"livekit": {"publicUrl": "wss://lk"}}, "livekit.nodeSelector: say which node wss://lk leads to"),
    ({"services": {"ipFamilies": ["IPv4", "IPv6"]}}, "services.ipFamilies: a Service has two families only with"),
    ({"livekit": {"ports": {"tcp": 7880}}}, "livekit.ports.http and livekit.ports.tcp are both 7880"),
    ({"livekit": {"ports": {"metrics": 7881}}}, "livekit.ports.metrics (7881) is another of livekit.ports already"),
    (
        {"livekit": {"enabled": False, "external": {"url": "wss://acme.livekit.cloud", "secret": "lk"}}},
        "networkPolicies.livekitCidrs: say in which networks wss://acme.livekit.cloud is",
    ),
    (postgres(host=""), "postgres.external.host: write the host"),
    (postgres(user=""), "postgres.external.user: name the user"),
    (postgres(passwordSecret=""), "postgres.external.passwordSecret: name the Secret"),
    (postgres(sslmode="verify-full"), "postgres.external.caSecret: with sslmode=verify-full name the Secret"),
    (postgres(caSecret="ca"), "postgres.external.caSecret: sslmode=require asks for no certificate"),
    ({"postgres": {"external": {"host": "db"}}}, "postgres.external.host: postgres.enabled=true runs"),
    (
        {"postgres": {**postgres()["postgres"], "storage": {"size": "1Gi"}}},
        "postgres.storage.size: postgres.enabled=false",
    ),
    ({"database": {"roles": {"create": False}}}, "database.roles.create=false: nobody makes the roles"),
    ({"postgres": {"storage": {"className": "fast"}}}, "postgres.storage.className: there is a volume only with"),
    (
        {"database": {"minConnections": 31}},
        "database.minConnections (31) must not be above database.maxConnections (30)",
    ),
    (
        {"database": {"maxConnections": 5}, "pgbouncer": {"replicas": 2}},
        "database.maxConnections (5) is shared by pgbouncer.replicas (2), of which each needs 3",
    ),
    (
        {"pgbouncer": {"resources": {"requests": {"memory": "1Gi"}}}},
        "pgbouncer.resources.requests.memory (1Gi) must not be above pgbouncer.resources.limits.memory (128Mi)",
    ),
    (
        {"migrations": {"resources": {"requests": {"cpu": 1.5}, "limits": {"cpu": "900m"}}}},
        "migrations.resources.requests.cpu (1.5) must not be above migrations.resources.limits.cpu (900m)",
    ),
    ({"localModels": {"enabled": False}}, "the default pool has no models"),
    ({"openai": {"apiKeySecret": "k"}, **provider()}, "openai.apiKeySecret: with defaultPool.providers"),
    ({"defaultPool": {"warm": {"min": 11}}}, "defaultPool.warm.min (11) must not be above defaultPool.warm.max (10)"),
    (
        {"defaultPool": {"resources": {"memoryRequest": "1Gi"}}},
        "defaultPool.resources.memoryRequest (1Gi) must not be above defaultPool.resources.memoryLimit (512Mi)",
    ),
    (
        {"defaultPool": {"volumeMounts": [{"name": "ca", "mountPath": "/ca"}]}},
        "defaultPool.volumeMounts: ca is none of",
    ),
    ({"defaultPool": {"create": False}}, "defaultProfile.spec.pool: defaultPool.create=false makes no pool"),
    (
        {"defaultPool": {"create": False, "code": "a"}, "defaultProfile": {"create": False}},
        "defaultPool.code: defaultPool.create=false",
    ),
    (
        {"defaultProfile": {"create": False, "spec": {"greeting": "Hi."}}},
        "defaultProfile.spec: defaultProfile.create=false makes no profile",
    ),
    (
        {"networkPolicies": {"enabled": False, "localEgress": [{"ports": [{"port": 1}]}]}},
        "networkPolicies.localEgress: networkPolicies.enabled=false makes no policies",
    ),
    ({"networkPolicies": {"enabled": False, "cilium": True}}, "networkPolicies.cilium: networkPolicies.enabled=false"),
    (
        {"networkPolicies": {"agentEgress": [{"to": [], "ports": [{"port": 1}]}]}},
        "networkPolicies.agentEgress: `to` is empty, which for Kubernetes is everybody",
    ),
    ({"networkPolicies": {"closedCidrs": ["::/0"]}}, "networkPolicies.closedCidrs: ::/0 is all there is"),
]


@pytest.mark.parametrize(("values", "words"), CONTRADICTIONS)
def test_values_that_contradict_each_other_are_refused(values: Values, words: str) -> None:
    (sentence,) = [line for line in refusal(values).splitlines() if line.startswith("- ")]
    assert words in sentence


def test_all_contradictions_are_said_at_once() -> None:
    said = refusal({"livekit": {"enabled": False}, "postgres": {"enabled": False}})
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("- ")] == [
        *("- livekit.external.url", "- livekit.external.secret"),
        *("- postgres.external.host", "- postgres.external.user", "- postgres.external.passwordSecret"),
    ]


@pytest.mark.parametrize("mode", ["open", "api-key", "oidc"])
def test_whoever_says_so_opens_the_door(mode: str) -> None:
    of_mode: dict[str, Values] = {"api-key": {"apiKeysSecret": "keys"}, "oidc": {"oidc": ISSUER}}
    auth = {"mode": mode, **of_mode.get(mode, {})}
    service = {"auth": auth, "service": {"type": "LoadBalancer"}, "corsAllowedOrigins": ["*"]}
    environment = environment_of(render({"tokenService": service}), "Deployment", "token-service")
    assert environment["AUTH_MODE"] == ("none" if mode == "open" else mode)
    assert environment.get("OIDC_AUDIENCE") == ("voice" if mode == "oidc" else None)


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ("v" * 32, "-voice-agent-postgres has 53 characters, and may have 52: choose a name for the release that is 1"),
        ("1voice", "-voice-agent-token-service is no name of a Service"),
        ("voice.acme", "-voice-agent-token-service is no name of a Service"),
    ],
)
def test_a_release_whose_objects_could_have_no_names_is_refused(release: str, words: str) -> None:
    with pytest.raises(HelmError) as refused:
        render(release=release)
    assert f"the release's name: {release}{words}" in str(refused.value)


def test_a_release_s_name_may_have_31_characters() -> None:
    assert render(release="v" * 31)


def test_a_chart_that_has_this_one_as_a_dependency_may_switch_it() -> None:
    assert render({"enabled": True, "global": {"anything": 1}})


def test_every_default_is_known_to_the_schema() -> None:
    defaults = yaml.safe_load(run_helm("show", "values", str(CHART)))
    render(defaults)


def test_a_level_of_the_log_in_small_letters() -> None:
    assert environment_of(render({"logLevel": "info"}), "Deployment", "operator")["LOG_LEVEL"] == "info"


def refusal(values: Values) -> str:
    """Returns what helm says to these values."""
    with pytest.raises(HelmError) as refused:
        render(values)
    return str(refused.value)
