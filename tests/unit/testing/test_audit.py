"""What the audit log tells of a release's requests."""

import json
from pathlib import Path
from typing import Any

import pytest

from testing import audit
from testing.audit import Right, read_requests
from testing.release import Release

OPERATOR = "system:serviceaccount:acme:r-voice-agent-operator"


def event(user: str, verb: str, code: int, **about: str) -> dict[str, Any]:
    return {"user": {"username": user}, "verb": verb, "objectRef": about, "responseStatus": {"code": code}}


def test_a_releases_own_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "audit.log"
    monkeypatch.setattr(audit, "AUDIT_LOG", log)
    events = [
        event(OPERATOR, "list", 200, resource="pods", apiVersion="v1"),
        event(OPERATOR, "patch", 403, apiGroup="voiceagents.dev", resource="agentpools", subresource="status"),
        event(OPERATOR, "get", 200),
        event("system:serviceaccount:other:r-voice-agent-operator", "delete", 200, resource="pods"),
        event("local-admin", "get", 200, resource="serviceaccounts", name=OPERATOR),
    ]
    log.write_text("".join(f"{json.dumps(each)}\n" for each in events))

    assert list(read_requests(Release("r", "acme"))) == [
        (Right("operator", "list", "pods"), 200),
        (Right("operator", "patch", "voiceagents.dev/agentpools/status"), 403),
    ]
