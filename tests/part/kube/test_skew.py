"""CRDs that are older than the release: what they lack is named, with the rights of an account that has none."""

import asyncio
import copy
import json
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kube import skew
from kube.client import KubernetesApi
from kube.skew import list_missing, tell_of_older_crds
from local_cluster.binaries import KUBERNETES
from testing.crds import apply_crds, load_crds
from testing.waiting import eventually

LACKING = "AgentPool.spec.hangSeconds"


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
    command = [str(KUBERNETES.path("kubectl")), "--kubeconfig", str(kubeconfig), *arguments]
    return subprocess.run(command, input=stdin, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def older_crds(api_server: Path) -> Iterator[None]:
    pools: Any = copy.deepcopy(load_crds()["AgentPool"])
    del pools["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["hangSeconds"]
    kubectl(api_server, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(pools))
    yield
    apply_crds(api_server)


async def test_the_release_s_own_crds_lack_nothing(kubernetes: KubernetesApi) -> None:
    await eventually_lacking(kubernetes, [])


async def test_what_older_ones_lack_is_said_until_they_are_upgraded(
    older_crds: None,
    api_server: Path,
    kubernetes: KubernetesApi,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(skew, "PAUSE_SECONDS", 0.1)
    await eventually_lacking(kubernetes, [LACKING])
    counted: list[int] = []
    with caplog.at_level(logging.INFO, "kube.skew"):
        telling = asyncio.create_task(tell_of_older_crds(kubernetes, lambda missing: counted.append(len(missing))))
        await eventually(lambda: len(counted) > 2, 10, "it has looked again")
        assert {record.__dict__["missing"][0] for record in caplog.records} == {LACKING}
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        apply_crds(api_server)
        async with asyncio.timeout(30):
            await telling
    assert counted[-1] == 0
    assert caplog.records[-1].message == "the CRDs are as this release wants them"


async def test_a_kind_that_is_not_there_is_named(
    api_server: Path, kubernetes: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skew, "VERSION", "v9")
    assert await list_missing(kubernetes) == ["AgentPool", "AgentProfile", "VoiceSession"]


@pytest.mark.parametrize("path", ["/openapi/v3", "/openapi/v3/apis/voiceagents.dev/v1alpha1"])
def test_any_account_may_read_what_is_served(api_server: Path, path: str) -> None:
    account = "--as=system:serviceaccount:default:default"
    assert kubectl(api_server, "auth", "can-i", "get", path, account).strip() == "yes"


async def eventually_lacking(kubernetes: KubernetesApi, wanted: list[str]) -> None:
    """Waits until the API server describes what it serves anew, which it does in its own time."""
    found: list[str] = []

    async def lacks() -> bool:
        found[:] = await list_missing(kubernetes)
        return found == wanted

    await eventually(lacks, 30, f"they lack {wanted}")
