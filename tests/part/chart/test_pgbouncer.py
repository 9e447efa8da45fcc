"""What the chart makes of PgBouncer, before a real Postgres: one agent that was taken over stops nobody else."""

import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from conversations.closer import ConversationCloser
from conversations.pgbouncer.metrics import PgBouncerCollector, ask_pgbouncer
from testing.chart import WITH_CALLS, Raw, find, render
from testing.conversations import AgentsConversation, ConversationsDatabase, connect_as, message
from testing.postgres import OWNER, PgBouncerProcess, paused
from testing.rendered_pgbouncer import STATS_PASSWORD, rendered_pgbouncer
from testing.waiting import eventually_sync

MOST_AGENTS = 3
MOST_CLIENTS = 12
FOREVER = "SET statement_timeout = 0; SELECT pg_sleep(3600)"


@dataclass(frozen=True)
class Site:
    """A database behind both processes, of whose six connections agents have three."""

    database: ConversationsDatabase
    objects: list[Raw]
    agents: PgBouncerProcess
    services: PgBouncerProcess

    def conversation(self) -> AgentsConversation:
        """Returns one whose agent writes through PgBouncer."""
        return replace(self.database.new_conversation(), port=self.agents.port)

    def busy(self) -> int:
        """Returns how many of the agents' statements Postgres is at."""
        query = "SELECT FROM pg_stat_activity WHERE usename = 'voice_agent' AND state = 'active'"
        with psycopg.connect(self.database.server.superuser_url()) as superuser:
            return len(superuser.execute(query).fetchall())


def render_for(conversations: ConversationsDatabase, values: Mapping[str, Any]) -> list[Raw]:
    """Returns the objects of a release that has this database."""
    external = {"host": "127.0.0.1", "port": conversations.server.port, "user": OWNER, "passwordSecret": "db"}
    database = {"name": conversations.name, "minConnections": 0, "maxConnections": 6, "maxClients": MOST_CLIENTS}
    postgres = {"enabled": False, "external": {**external, "sslmode": "disable"}}
    return render({"database": database, "postgres": postgres, **values})


@pytest.fixture
def site(conversations: ConversationsDatabase) -> Iterator[Site]:
    objects, server = render_for(conversations, {"pgbouncer": {"metrics": {"enabled": True}}}), conversations.server
    with (
        rendered_pgbouncer(server, objects, query_wait_timeout=2, query_timeout=3) as agents,
        rendered_pgbouncer(server, objects, "services") as services,
    ):
        yield Site(conversations, objects, agents, services)
    with psycopg.connect(server.superuser_url(), autocommit=True) as superuser:
        superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'voice_agent'")


def test_the_role_of_the_page_of_calls_is_let_in_where_the_page_is_on(conversations: ConversationsDatabase) -> None:
    query = b"SELECT * FROM voice.find_conversation('acme', 'room', NULL)"
    with (
        rendered_pgbouncer(conversations.server, render_for(conversations, WITH_CALLS), "services") as on,
        rendered_pgbouncer(conversations.server, render_for(conversations, {}), "services") as off,
    ):
        with connect_as(conversations, "voice_viewer", on.port) as connection:
            assert connection.execute(query).fetchall() == []
        with pytest.raises(psycopg.OperationalError):
            connect_as(conversations, "voice_viewer", off.port)


def serve(site: Site, conversation: AgentsConversation) -> None:
    """Does what token service and operator do with a conversation."""
    for role, statement in {
        "voice_reader": "SELECT * FROM voice.read_transcript(%s)",
        "voice_closer": "SELECT voice.close_conversation(%s, 1, 'error', NULL)",
    }.items():
        with connect_as(site.database, role, site.services.port) as connection:
            assert connection.execute(statement, (conversation.session_id,)).fetchall()


async def test_statements_without_end_hold_up_other_agents_for_seconds_and_the_services_not_at_all(site: Site) -> None:
    other = site.conversation()
    other.start()
    other.append(message(1, "before"))
    hostile = [connect_as(site.database, "voice_agent", site.agents.port) for _ in range(MOST_AGENTS)]

    def hold(connection: psycopg.Connection[Raw]) -> None:
        with pytest.raises(psycopg.OperationalError, match=r"query.timeout"):
            connection.execute(FOREVER.encode())

    with ThreadPoolExecutor(MOST_AGENTS) as threads:
        held = [threads.submit(hold, connection) for connection in hostile]
        eventually_sync(lambda: site.busy() == MOST_AGENTS, 10, "all of the agents' connections are held")
        serve(site, other)
        for each in held:
            each.result()
    later = site.conversation()
    later.start()
    assert later.append(message(1, "after")) == 1
    # PgBouncer has let them go; in Postgres they go on.
    assert site.busy() == MOST_AGENTS
    async with ConversationCloser(site.database.url("voice_closer", site.services.port)) as closer:
        assert await closer.end_overdue(3600) == 0
        assert await closer.end_overdue(1) == MOST_AGENTS
    eventually_sync(lambda: site.busy() == 0, 10, "they are ended")


def test_a_transaction_and_half_a_request_hold_no_connection(site: Site) -> None:
    for statement in ("BEGIN", "SELECT 1; BEGIN; SELECT 2"):
        with (
            connect_as(site.database, "voice_agent", site.agents.port) as connection,
            pytest.raises(psycopg.Error, match="transaction blocks not allowed"),
        ):
            connection.execute(statement.encode())
    hostile = [connect_as(site.database, "voice_agent", site.agents.port) for _ in range(MOST_AGENTS)]
    for connection in hostile:
        # A request whose end never comes.
        connection.pgconn.enter_pipeline_mode()
        connection.pgconn.send_query_params(b"SELECT 1", [])
        connection.pgconn.send_flush_request()
        connection.pgconn.flush()
    agent = site.conversation()

    def is_written() -> bool:
        try:
            agent.start()
        except psycopg.OperationalError:
            return False
        return True

    eventually_sync(is_written, 20, "another agent writes")


def test_connections_without_number_leave_who_is_connected_and_the_services(site: Site) -> None:
    connected, ended = site.conversation(), site.conversation()
    ended.start()
    ended.append(message(1, "whole"))
    with connect_as(site.database, "voice_agent", site.agents.port) as connection:
        hostile = [connect_as(site.database, "voice_agent", site.agents.port) for _ in range(MOST_CLIENTS - 1)]
        with pytest.raises(psycopg.OperationalError, match="no more connections allowed"):
            connect_as(site.database, "voice_agent", site.agents.port)
        arguments = (*connected.credentials(), "room", "ada", "local", True, "default", None)
        places = ", ".join(["%s"] * len(arguments))
        connection.execute(f"SELECT voice.start_conversation({places})".encode(), arguments)
        serve(site, ended)
    with pytest.raises(psycopg.OperationalError):
        connect_as(site.database, "voice_agent", site.services.port)
    for each in hostile:
        each.close()


def test_closing_has_its_connection_while_all_that_read_are_busy(site: Site) -> None:
    ended = site.conversation()
    ended.start()
    with (
        connect_as(site.database, "voice_reader", site.services.port) as reader,
        connect_as(site.database, "voice_closer", site.services.port) as closer,
        ThreadPoolExecutor(1) as threads,
    ):
        reading = threads.submit(reader.execute, "SELECT pg_sleep(3)")
        assert closer.execute(
            "SELECT voice.close_conversation(%s, 1, 'error', NULL) AS closed", (ended.session_id,)
        ).fetchall() == [{"closed": True}]
        reading.result()


def test_its_metrics_tell_who_waits_even_where_no_client_is_taken_any_more_and_which_process_is_gone(
    site: Site,
) -> None:
    registry = CollectorRegistry()
    ports = {"agents": site.agents.port, "services": site.services.port}
    asked = {name: partial(ask_pgbouncer, port, STATS_PASSWORD) for name, port in ports.items()}
    registry.register(PgBouncerCollector(asked))
    agents = {"process": "agents", "database": site.database.name}

    def read(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"pgbouncer_{name}", {**agents, **labels}) or 0.0

    def ask(connection: psycopg.Connection[Raw]) -> None:
        with pytest.raises(psycopg.OperationalError, match=r"query.(wait.)?timeout"):
            connection.execute("SELECT pg_sleep(60)")

    clients = [connect_as(site.database, "voice_agent", site.agents.port) for _ in range(MOST_CLIENTS)]
    with ThreadPoolExecutor(MOST_AGENTS + 1) as threads:
        asking = [threads.submit(ask, connection) for connection in clients[: MOST_AGENTS + 1]]
        waits = partial(read, "pools_client_waiting_connections", user="voice_agent")
        eventually_sync(lambda: waits() == 1, 10, "one of the agents waits")
        assert read("pools_client_maxwait_seconds", user="voice_agent") > 0
        assert read("pools_server_active_connections", user="voice_agent") == MOST_AGENTS
        assert read("pools_client_active_connections", user="voice_agent") == MOST_CLIENTS - 1
        for each in asking:
            each.result()
    assert waits() == 0
    assert read("stats_client_wait_seconds_total") > 0
    with connect_as(site.database, "voice_reader", site.services.port) as reader:
        reader.execute("SELECT 1")
    assert read("stats_queries_pooled_total", process="services") == 1
    site.agents.stop()
    assert registry.get_sample_value("pgbouncer_up", {"process": "agents"}) == 0
    assert registry.get_sample_value("pgbouncer_up", {"process": "services"}) == 1
    assert registry.get_sample_value("pgbouncer_stats_queries_pooled_total", agents) is None


def test_who_reads_its_metrics_may_change_nothing(site: Site) -> None:
    for port in (site.agents.port, site.services.port):
        url = f"postgresql://voice_stats:{STATS_PASSWORD}@127.0.0.1:{port}"
        with psycopg.connect(f"{url}/pgbouncer", autocommit=True, connect_timeout=10) as console:
            assert console.execute("SHOW VERSION").fetchone()
            for command in ("PAUSE", "RELOAD", "SHUTDOWN", "KILL", "SET max_client_conn = 1"):
                with pytest.raises(psycopg.Error, match="admin access needed"):
                    console.execute(command.encode())
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"{url}/{site.database.name}", connect_timeout=10).close()
    agents_own = site.database.url("voice_agent", site.agents.port).replace(site.database.name, "pgbouncer")
    with pytest.raises(psycopg.OperationalError, match="not allowed"):
        psycopg.connect(agents_own, connect_timeout=10).close()


def test_the_liveness_probe_tells_a_busy_process_from_one_that_hangs(site: Site) -> None:
    container = find(site.objects, "Deployment", "pgbouncer")["spec"]["template"]["spec"]["containers"][0]
    command = container["livenessProbe"]["exec"]["command"]
    command[-1] = command[-1].replace("/6432", f"/{site.agents.port}")

    def is_alive() -> bool:
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
        return done.returncode == 0

    clients = [connect_as(site.database, "voice_agent", site.agents.port) for _ in range(MOST_CLIENTS)]
    assert is_alive(), "full"
    site.database.server.stop()
    try:
        assert is_alive(), "without Postgres"
    finally:
        site.database.server.start()
    assert site.agents.process is not None
    with paused([site.agents.process.pid]):
        assert not is_alive()
    for each in clients:
        each.close()
