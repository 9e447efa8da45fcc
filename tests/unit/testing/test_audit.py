"""What the audit log tells of a release's requests."""

import json
from pathlib import Path
from typing import Any

import pytest

from testing import audit
from testing.audit import Right, read_requests
from testing.release import Release

OPERATOR = "system:serviceaccount:acme:r-voice-agent-operator"


INSTALLED, BEFORE = "2026-11-28T20:00:00.500000Z", "2026-11-28T19:59:59.900000Z"


class Installed(Release):
    """Its namespace is there since 20:00."""

    def get(self, *_: str) -> Any:
        return {"metadata": {"creationTimestamp": "2026-11-28T20:00:00Z"}}


def event(user: str, verb: str, code: int, at: str = INSTALLED, **about: str) -> dict[str, Any]:
    what = {"user": {"username": user}, "verb": verb, "objectRef": about, "responseStatus": {"code": code}}
    return {**what, "requestReceivedTimestamp": at}


def test_a_releases_own_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "audit.log"
    monkeypatch.setattr(audit, "AUDIT_LOG", log)
    events = [
        event(OPERATOR, "list", 200, resource="pods", apiVersion="v1"),
        event(OPERATOR, "patch", 403, apiGroup="voiceagents.dev", resource="agentpools", subresource="status"),
        event(OPERATOR, "get", 200),
        event(OPERATOR, "update", 403, BEFORE, resource="leases"),
        event("system:serviceaccount:other:r-voice-agent-operator", "delete", 200, resource="pods"),
        event("local-admin", "get", 200, resource="serviceaccounts", name=OPERATOR),
    ]
    log.write_text("".join(f"{json.dumps(each)}\n" for each in events))

    assert list(read_requests(Installed("r", "acme"))) == [
        (Right("operator", "list", "pods"), 200),
        (Right("operator", "patch", "voiceagents.dev/agentpools/status"), 403),
    ]
