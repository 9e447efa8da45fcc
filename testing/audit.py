"""Which rights Roles give, and which of them were used, as the API server's audit log tells."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from local_cluster.control_plane import AUDIT_LOG
from testing.release import Release

FORBIDDEN = 403
# Both times are in UTC, by RFC 3339; one has fractions of a second.
_TO_SECONDS = len("2006-01-02T15:04:05")


@dataclass(frozen=True, order=True)
class Right:
    """One that a component has or uses. `resource`: with its group and subresource."""

    component: str
    verb: str
    resource: str


def is_audited() -> bool:
    """Tells whether the cluster writes the log."""
    return AUDIT_LOG.exists()


def read_rights(release: Release) -> set[Right]:
    """Returns what the release's Roles give, by the component whose they are."""
    return {
        Right(role["metadata"]["labels"]["app.kubernetes.io/component"], verb, _name(group, resource))
        for role in release.get("roles", "-l", f"app.kubernetes.io/instance={release.name}")["items"]
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def read_requests(release: Release) -> Iterator[tuple[Right, int]]:
    """Yields what the release's own ServiceAccounts have asked of the API server, and the HTTP status of the answer.

    Since there is its namespace: one of this name may have been uninstalled, and its pods had no rights at their end.
    Questions that are about no resource, as which kinds there are, everybody may ask.
    """
    prefix = f"system:serviceaccount:{release.namespace}:{release.full_name('')}"
    since = release.get("namespace", release.namespace)["metadata"]["creationTimestamp"][:_TO_SECONDS]
    with AUDIT_LOG.open() as log:
        for line in log:
            if prefix not in line:
                continue
            event: dict[str, Any] = json.loads(line)
            user, about = event["user"]["username"], event.get("objectRef", {})
            if (
                user.startswith(prefix)
                and "resource" in about
                and event["requestReceivedTimestamp"][:_TO_SECONDS] >= since
            ):
                resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
                right = Right(user.removeprefix(prefix), event["verb"], _name(about.get("apiGroup", ""), resource))
                yield right, event.get("responseStatus", {}).get("code", 0)


def _name(group: str, resource: str) -> str:
    return f"{group}/{resource}" if group else resource
