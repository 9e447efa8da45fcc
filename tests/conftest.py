"""Fixtures that several tiers share: a real API server and a real Postgres, one of each for the whole run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_cluster.apiserver import running_apiserver
from tests.support.crds import apply_crds


@pytest.fixture(scope="session")
def api_server() -> Iterator[Path]:
    """The kubeconfig of an API server that has our CRDs; full rights. Take a namespace of your own in it."""
    with running_apiserver() as kubeconfig:
        apply_crds(kubeconfig)
        yield kubeconfig
