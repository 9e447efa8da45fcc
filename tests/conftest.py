"""Fixtures that several tiers share: a real API server and a real Postgres, one of each for the whole run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_cluster.apiserver import running_apiserver
from testing.conversations import ConversationsDatabase
from testing.crds import apply_crds
from testing.postgres import PostgresServer, running_postgres

pytest_plugins = ["testing.tiers", "pytester"]


@pytest.fixture(scope="session")
def api_server() -> Iterator[Path]:
    """The kubeconfig of an API server that has our CRDs; full rights. Take a namespace of your own in it."""
    with running_apiserver() as kubeconfig:
        apply_crds(kubeconfig)
        yield kubeconfig


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A Postgres. Whoever stops it starts it again; make a database of your own in it."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def conversations(postgres: PostgresServer, tmp_path: Path) -> ConversationsDatabase:
    """A migrated database of conversations, this test's own."""
    database = ConversationsDatabase(postgres, postgres.create_database(), tmp_path)
    database.migrate()
    return database
