"""A second installation, as a company has it: all that is not ours is elsewhere, and its namespace is `restricted`."""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from testing.cluster import apply
from testing.outside_postgres import HOST, OWNER, OutsidePostgres
from testing.release import Release

NAMESPACE = "e2e-company"
# One that SQL wants in quotes.
DATABASE = "voice-prod"
TENANT = "acme"
# What a backend tells of a call, for its agent alone.
PRIVATE = "the account number is 4417-1234"


@dataclass(frozen=True)
class Company:
    """The release, and the keys that were given to it. Its LiveKit and its models are another release's."""

    release: Release
    api_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    provider_key: str = field(default_factory=lambda: f"sk-{secrets.token_hex(24)}")

    def install(self, host: Release, postgres: OutsidePostgres) -> None:
        """Installs it beside `host`, whose LiveKit and models it has; does not wait for its pods."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
        key, secret = host.livekit_credentials()
        hashed = hashlib.sha256(self.api_key.encode()).hexdigest()
        self.release.apply(
            _secret("livekit", {"api-key": key, "api-secret": secret}),
            _secret("postgres", {"password": postgres.password}),
            _secret("postgres-ca", {"ca.crt": postgres.ca}),
            _secret("api-keys", {"api-keys": f"{TENANT}:{hashed}"}),
            _secret("models", {"api-key": self.provider_key}),
            _secret("caller", {"api-key": self.api_key}),
        )
        self.release.install(_values(host))

    def rows_of(self, postgres: OutsidePostgres, room: str) -> list[dict[str, Any]]:
        """Returns a conversation's messages, in order."""
        query = (
            "SELECT m.role, m.content FROM voice.conversation_messages m JOIN voice.conversation_sessions s "
            f"USING (session_id) WHERE s.room_id = '{room}' ORDER BY m.id"
        )
        answer = postgres.sql(f"SELECT coalesce(json_agg(t), '[]') FROM ({query}) t", DATABASE)
        rows: list[dict[str, Any]] = json.loads(answer)
        return rows


def _secret(name: str, data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def _values(host: Release) -> dict[str, Any]:
    port = host.livekit_address().rpartition(":")[2]
    database = {"host": HOST, "user": OWNER, "passwordSecret": "postgres"}
    near = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": host.namespace}}}
    return {
        "livekit": {
            "enabled": False,
            "publicUrl": f"ws://{host.livekit_address()}",
            "external": {
                "url": f"ws://{host.full_name('livekit')}.{host.namespace}.svc:{port}",
                "secret": "livekit",
            },
        },
        "database": {"name": DATABASE, "minConnections": 1, "maxConnections": 5},
        "postgres": {
            "enabled": False,
            "external": {**database, "sslmode": "verify-full", "caSecret": "postgres-ca"},
        },
        "localModels": {"enabled": False},
        "openai": {
            "apiKeySecret": "models",
            "baseUrl": f"http://{host.full_name('local-models')}.{host.namespace}.svc:8000/v1",
            "stt": {"model": "whisper-tiny.en"},
            "llm": {"model": "rule-based-partner"},
            "tts": {"model": "hibari", "voice": "alloy"},
        },
        "operator": {"replicas": 1},
        "tokenService": {
            "auth": {"mode": "api-key", "apiKeysSecret": "api-keys"},
            "callsPage": {"enabled": True},
        },
        "defaultPool": {"warm": {"min": 1, "max": 3}},
        "networkPolicies": {"agentEgress": [{"to": [near], "ports": [{"port": 8000, "protocol": "TCP"}]}]},
        "test": {"apiKeySecret": "caller"},
    }
