"""Wrong values are refused by the chart, with words that say what to write."""

from typing import Any

import pytest
import yaml

from testing.chart import CHART, HelmError, environment_of, render, run_helm

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tokenServise": {}}, "tokenServise"),
    ({"operator": {"replicas": 6}}, "replicas"),
    ({"operator": {"leaderElect": False}}, "leaderElect"),
    ({"lostNodeSeconds": "10s"}, "lostNodeSeconds"),
    ({"images": {"agent": "two words"}}, "agent"),
    ({"images": {"agent": ""}}, "agent"),
    ({"logLevel": "loud"}, "logLevel"),
    ({"tokenService": {"auth": {"mode": "password"}}}, "mode"),
    ({"tokenService": {"auth": {"mode": "api-key"}}}, "name the Secret whose key `api-keys`"),
    ({"tokenService": {"corsAllowedOrigins": ["shop.example.com"]}}, "corsAllowedOrigins"),
    ({"tokenService": {"service": {"type": "Ingress"}}}, "type"),
    ({"tokenService": {"tokenLifetimeSeconds": 5}}, "tokenLifetimeSeconds"),
    ({"livekit": {"publicUrl": "https://livekit.example.com"}}, "publicUrl"),
    ({"livekit": {"ports": {"http": 80}}}, "http"),
    ({"livekit": {"logLevel": "warning"}}, "logLevel"),
    ({"livekit": {"enabled": False}}, "livekit.external."),
    ({"livekit": {"enabled": False, "external": {"url": "wss://lk"}}}, "livekit.external.secret"),
    ({"livekit": {"enabled": False, "external": {"secret": "lk"}}}, "livekit.external.url"),
    ({"livekit": {"nodeSelector": {"zone": "a"}}}, "livekit.publicUrl: say at which address"),
    ({"postgres": {"enabled": False}}, "postgres.external.host"),
    ({"postgres": {"enabled": False, "external": {"host": "db"}}}, "postgres.external.user"),
    ({"postgres": {"enabled": False, "external": {"host": "db", "user": "o"}}}, "postgres.external.passwordSecret"),
    ({"postgres": {"storage": {"size": "large"}}}, "size"),
    ({"database": {"name": "voice; drop"}}, "name"),
    ({"database": {"maxConnections": 0}}, "maxConnections"),
    ({"database": {"minConnections": 31}}, "database.minConnections must not be above database.maxConnections"),
    ({"openai": {"apiKeySecret": "s", "llm": {"model": ""}}}, "model"),
    ({"localModels": {"enabled": False}}, "the default pool has no models"),
    ({"networkPolicies": {"livekitCidrs": ["10.0.0.0"]}}, "livekitCidrs"),
]


@pytest.mark.parametrize(("values", "words"), REFUSED)
def test_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(HelmError) as refused:
        render(values)
    assert words in str(refused.value)


def test_every_default_is_known_to_the_schema() -> None:
    defaults = yaml.safe_load(run_helm("show", "values", str(CHART)))
    render(defaults)


def test_a_level_of_the_log_in_small_letters() -> None:
    assert environment_of(render({"logLevel": "info"}), "Deployment", "operator")["LOG_LEVEL"] == "info"
