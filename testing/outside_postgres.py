"""A Postgres of its own in the cluster, as a company has one: TLS alone, and an owner who is no superuser."""

import secrets
from pathlib import Path
from typing import Any

from local_cluster.pki import Authority
from testing.cluster import apply, image, kubectl

NAMESPACE = "e2e-postgres"
HOST = f"postgres.{NAMESPACE}.svc"
OWNER = "company_owner"
_NAME = "postgres"
# Nobody gets in without TLS but who is in the pod.
_HBA = "local all all trust\nhostssl all all all scram-sha-256\n"


class OutsidePostgres:
    """The server, its owner's password, and the authority that signed its certificate."""

    def __init__(self, folder: Path) -> None:
        """Makes the certificates in `folder`, and nothing in the cluster yet."""
        authority = Authority(folder)
        self._identity = authority.issue(_NAME, _NAME, hosts=[HOST])
        self.ca = authority.certificate.read_text()
        self.password = secrets.token_urlsafe(24)

    def start(self, database: str) -> None:
        """Starts the server in a namespace of its own, with an empty database of the owner's."""
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
        apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            _in_namespace("Secret", stringData={**self._files(), "superuser": secrets.token_urlsafe(24)}),
            _in_namespace("Service", spec={"selector": {"app": _NAME}, "ports": [{"port": 5432}]}),
            _in_namespace("Pod", spec=_pod_spec()),
        )
        kubectl("--namespace", NAMESPACE, "wait", "--for=condition=Ready", "--timeout=60s", f"pod/{_NAME}")
        self.sql(f"CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{self.password}'")
        self.sql(f'CREATE DATABASE "{database}" OWNER {OWNER}')

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Returns what psql prints of one statement of the superuser's."""
        command = ("psql", "-qAt", "-h", "/var/lib/postgresql/data", "-U", "postgres", "-d", database, "-c", statement)
        return kubectl("--namespace", NAMESPACE, "exec", _NAME, "--", *command)

    def end(self) -> None:
        """Takes the namespace away; does not wait."""
        kubectl("delete", "namespace", NAMESPACE, "--wait=false", "--ignore-not-found")

    def _files(self) -> dict[str, str]:
        return {
            "server.crt": self._identity.certificate.read_text(),
            "server.key": self._identity.key.read_text(),
            "pg_hba.conf": _HBA,
        }


def _in_namespace(kind: str, **fields: Any) -> dict[str, Any]:
    metadata = {"name": _NAME, "namespace": NAMESPACE, "labels": {"app": _NAME}}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}


def _pod_spec() -> dict[str, Any]:
    settings = {"ssl": "on", "hba_file": "/tls/pg_hba.conf"}
    settings |= {"ssl_cert_file": "/tls/server.crt", "ssl_key_file": "/tls/server.key"}
    container = {
        "name": _NAME,
        "image": image("postgres"),
        "args": [part for name, value in settings.items() for part in ("-c", f"{name}={value}")],
        "env": [{"name": "POSTGRES_PASSWORD", "valueFrom": {"secretKeyRef": {"name": _NAME, "key": "superuser"}}}],
        "readinessProbe": {"exec": {"command": ["pg_isready", "-h", "/var/lib/postgresql/data"]}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "data", "mountPath": "/var/lib/postgresql/data"},
            {"name": "tls", "mountPath": "/tls", "readOnly": True},
        ],
    }
    return {
        "securityContext": {"fsGroup": 10001},
        "containers": [container],
        "volumes": [
            {"name": "data", "emptyDir": {}},
            {"name": "tls", "secret": {"secretName": _NAME, "defaultMode": 0o440}},
        ],
        "terminationGracePeriodSeconds": 0,
    }
