"""What all e2e tests together show: every right is used and none is missing, and no secret was told anywhere."""

import json
import re
from collections.abc import Iterator

import pytest

from testing.audit import FORBIDDEN, Right, is_audited, read_requests, read_rights
from testing.collector import Collector
from testing.company import PRIVATE, Company
from testing.log_keeper import LogKeeper
from testing.release import Release
from testing.release_secrets import TELLING_LENGTH, planted
from testing.waiting import eventually_sync
from voicesession.names import GROUP, VOICE_SESSIONS

# The API server writes its log so much later.
AUDIT_DELAY_SECONDS = 40
# For what seldom happens within some minutes: a VoiceSession or pod is looked at again where somebody else has written
# it just then, and a VoiceSession deleted ten minutes after its end.
RARE = {
    Right("operator", "get", "pods"),  # tests/part/voice_operator/test_claims.py
    Right("operator", "get", f"{GROUP}/{VOICE_SESSIONS}"),  # tests/unit/voice_operator/test_write_through.py
    Right("operator", "delete", f"{GROUP}/{VOICE_SESSIONS}"),  # tests/unit/voice_operator/calls/test_decide.py
}
TOKEN = re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}")
METRICS_PORTS = {"operator": 8080, "token-service": 3001, "local-models": 8000}


@pytest.mark.skipif(not is_audited(), reason="the cluster was made without AUDIT=1")
def test_every_right_is_used_and_none_is_missing(release: Release, company: Company) -> None:
    releases = (release, company.release)
    given = read_rights(release)
    assert given == read_rights(company.release)

    def unused() -> set[Right]:
        return given - RARE - {right for each in releases for right, _ in read_requests(each)}

    eventually_sync(lambda: not unused(), AUDIT_DELAY_SECONDS, lambda: f"never used: {sorted(unused())}", pace=2)
    assert given > RARE
    assert [right for each in releases for right, status in read_requests(each) if status == FORBIDDEN] == []


def test_no_secret_and_no_word_was_told(
    release: Release, company: Company, kept_logs: LogKeeper, collector: Collector
) -> None:
    logs = kept_logs.texts()
    spans = {"spans": collector.data.decode(errors="replace")}
    told = {**logs, **dict(shown(release)), **dict(shown(company.release)), **spans}
    assert len(logs) > 10
    assert any("voice_operator_" in text for where, text in told.items() if "metrics of" in where)
    secrets = {company.api_key: "the tenant's key", PRIVATE: "a private variable"}
    for each in (release, company.release):
        secrets.update(planted(each))
    assert company.provider_key in secrets
    found = [f"{name} in {where}" for where, text in told.items() for secret, name in secrets.items() if secret in text]
    found += [f"a token in {where}" for where, text in told.items() if TOKEN.search(text)]
    assert found == []

    rows = release.sql("SELECT content FROM voice.conversation_messages WHERE role = 'user'")
    spoken = {row["content"] for row in rows if len(row["content"]) >= TELLING_LENGTH}
    assert spoken
    assert [(words, where) for where, text in told.items() for words in spoken if words in text] == []


def shown(release: Release) -> Iterator[tuple[str, str]]:
    """Yields what anybody may read who reads a release's namespace, but Secrets: objects, Events, metrics."""
    for kind in (
        "pods",
        "events",
        "configmaps",
        "deployments",
        "jobs",
        f"agentpools.{GROUP}",
        f"agentprofiles.{GROUP}",
    ):
        yield f"{release.namespace}: {kind}", json.dumps(release.get(kind))
    # What a call's variables are stands in its spec.
    statuses = [item.get("status") for item in release.get(VOICE_SESSIONS)["items"]]
    yield f"{release.namespace}: VoiceSessions", json.dumps(statuses)
    for pod in release.get("pods", "-l", f"app.kubernetes.io/instance={release.name}")["items"]:
        name, component = pod["metadata"]["name"], pod["metadata"]["labels"]["app.kubernetes.io/component"]
        if port := METRICS_PORTS.get(component):
            path = f"/api/v1/namespaces/{release.namespace}/pods/{name}:{port}/proxy/metrics"
            yield f"{release.namespace}: metrics of {name}", release.kubectl("get", "--raw", path)
