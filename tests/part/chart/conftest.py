"""A release of the chart in the API server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.chart import NAMESPACE, RELEASE, run_helm
from testing.installation import Installation


@pytest.fixture(scope="module")
def installation(api_server: Path) -> Iterator[Installation]:
    installed = Installation(api_server)
    installed.add_node("node-m", "10.245.0.11")
    installed.upgrade()
    yield installed
    run_helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--no-hooks", kubeconfig=api_server)
    installed.kubectl("delete", "node", "node-m")
