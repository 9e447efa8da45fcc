"""The real things beside our parts: an API server, a LiveKit and a Postgres, one of each for the whole run."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from local_cluster.apiserver import running_apiserver
from testing.agent_cluster import AgentCluster, agent_cluster
from testing.conversations import ConversationsDatabase
from testing.crds import apply_crds
from testing.fake_openai import running_fake_openai
from testing.livekit import LiveKitServer, running_livekit
from testing.postgres import PostgresServer, running_postgres
from testing.shares import deal

# Tests that take half a minute and more, the longest first. Benchmarks need not be here: they are first by name, one
# after the other in the first worker's share.
LONG = (
    "test_every_standard_client_goes_on_with_the_next_agent",
    "test_code_that_takes_too_long_to_join",
    "test_hundreds_of_generated_requests",
    "test_in_every_order_all_that_is_deleted_is_soon_gone",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begins the workers' shares with tests that take long."""
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]  # by xdist, in each of its workers
    items[:] = deal(items, lambda item: item.name.partition("[")[0] in LONG, workers)


@pytest.fixture(scope="session")
def api_server() -> Iterator[Path]:
    """The kubeconfig of an API server that has our CRDs; full rights. Take a namespace of your own in it."""
    with running_apiserver() as kubeconfig:
        apply_crds(kubeconfig)
        yield kubeconfig


@pytest.fixture(scope="session")
def livekit() -> Iterator[LiveKitServer]:
    """A LiveKit server that sends no webhooks; take rooms of your own in it."""
    with running_livekit() as server:
        yield server


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


@pytest.fixture
async def agents(
    api_server: Path, livekit: LiveKitServer, conversations: ConversationsDatabase, tmp_path: Path
) -> AsyncIterator[AgentCluster]:
    """Two nodes whose pods are agent processes, and no operator yet."""
    async with (
        running_fake_openai() as models,
        agent_cluster(api_server, livekit, conversations, models, tmp_path) as made,
    ):
        yield made
