"""What a real API server says when it takes no VoiceSession, and what we make of it."""

import secrets
from pathlib import Path

import pytest
import yaml

from kube.client import KubernetesApi, KubernetesError, Raw
from kube.refusals import is_about_the_object
from testing.waiting import eventually
from voicesession.names import API_VERSION

SESSION: Raw = {"apiVersion": API_VERSION, "kind": "VoiceSession", "spec": {"room": "room"}}


async def refusal_of(kubernetes: KubernetesApi, **spec: object) -> KubernetesError:
    """Returns what the API server says to a VoiceSession, once it is refused."""

    async def ask() -> KubernetesError | None:
        metadata = {"name": f"call-{secrets.token_hex(4)}"}
        try:
            await kubernetes.create_session({**SESSION, "metadata": metadata, "spec": {**SESSION["spec"], **spec}})
        except KubernetesError as error:
            return error
        return None

    return await eventually(ask)


async def test_a_broken_rule_is_about_the_object(kubernetes: KubernetesApi) -> None:
    assert is_about_the_object(await refusal_of(kubernetes, room="not a room's name"))


async def test_a_used_up_quota_is_about_the_object(kubernetes: KubernetesApi) -> None:
    path = f"/api/v1/namespaces/{kubernetes._namespace}/resourcequotas"
    hard = {"count/voicesessions.voiceagents.dev": "0"}
    await kubernetes.request("POST", path, {"metadata": {"name": "calls"}, "spec": {"hard": hard}})
    # As the quota controller would, which does not run here.
    status = {"status": {"hard": hard, "used": hard}}
    await kubernetes.request("PATCH", f"{path}/calls/status", status, "application/merge-patch+json")
    refusal = await refusal_of(kubernetes)
    assert (refusal.status, is_about_the_object(refusal)) == (403, True), refusal


async def test_an_admission_policy_is_about_the_object(kubernetes: KubernetesApi) -> None:
    name, root = f"hours-{secrets.token_hex(4)}", "/apis/admissionregistration.k8s.io/v1"
    rule = {"apiGroups": ["voiceagents.dev"], "apiVersions": ["*"], "operations": ["CREATE"]}
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{**rule, "resources": ["voicesessions"]}]},
        "validations": [{"expression": "false", "message": "nobody works at night", "reason": "Forbidden"}],
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": kubernetes._namespace}}
    binding = {
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": selector},
    }
    for kind, spec in (("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)):
        await kubernetes.request("POST", f"{root}/{kind}", {"metadata": {"name": name}, "spec": spec})
    refusal = await refusal_of(kubernetes)
    assert (refusal.status, is_about_the_object(refusal)) == (403, True), refusal


def write_kubeconfig_of(api_server: Path, token: str, file: Path) -> Path:
    content = yaml.safe_load(api_server.read_text())
    content["users"][0]["user"] = {"token": token}
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize(("token", "status"), [(None, 403), ("not-a-token", 401)])
async def test_missing_rights_and_wrong_credentials_are_not(
    kubernetes: KubernetesApi, api_server: Path, tmp_path: Path, token: str | None, status: int
) -> None:
    if token is None:
        path = f"/api/v1/namespaces/{kubernetes._namespace}/serviceaccounts/default/token"
        token = (await kubernetes.request("POST", path, {"spec": {}}))["status"]["token"]
    kubeconfig = write_kubeconfig_of(api_server, token, tmp_path / "kubeconfig")
    stranger = await KubernetesApi.connect(kubernetes._namespace, kubeconfig)
    refusal = await refusal_of(stranger)
    await stranger.close()
    assert (refusal.status, is_about_the_object(refusal)) == (status, False), refusal


async def test_a_namespace_that_is_being_deleted_is_not(kubernetes: KubernetesApi) -> None:
    await kubernetes.request("DELETE", f"/api/v1/namespaces/{kubernetes._namespace}")
    refusal = await refusal_of(kubernetes)
    assert (refusal.status, is_about_the_object(refusal)) == (403, False), refusal
