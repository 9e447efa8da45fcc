"""Roles, which belong to a whole server: made by several migrations at once, or by somebody else."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from conversations.refusal import MigrationError
from conversations.roles import VIEWER
from testing.code_path import PYTHONPATH
from testing.conversations import PASSWORDS, ConversationsDatabase, message
from testing.postgres import OWNER, PostgresServer, running_postgres


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One whose owner may create no roles, as CloudNativePG and database administrators give it."""
    with running_postgres() as made, psycopg.connect(made.superuser_url(), autocommit=True) as connection:
        connection.execute(f"ALTER ROLE {OWNER} NOCREATEROLE".encode())
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ConversationsDatabase]]:
    """Databases of several releases on one server, which have all been migrated at once, the first time."""
    folder = tmp_path_factory.mktemp("shared")
    with running_postgres() as server:
        databases = [ConversationsDatabase(server, server.create_database(), folder) for _ in range(4)]
        with ThreadPoolExecutor(len(databases)) as threads:
            list(threads.map(ConversationsDatabase.migrate, databases))
        yield databases


@pytest.fixture
def database(server: PostgresServer, tmp_path: Path) -> ConversationsDatabase:
    return ConversationsDatabase(server, server.create_database(), tmp_path)


def run_script(server: PostgresServer, passwords: dict[str, str]) -> None:
    """Does what a database administrator does with what the command prints."""
    printed = subprocess.run(
        [sys.executable, "-m", "conversations", "sql"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    variables = [text for role, password in passwords.items() for text in ("-v", f"{role}_password={password}")]
    variables += ["-v", "voice_agent_connections=60", "-v", f"owner={OWNER}"]
    command = ["psql", server.superuser_url(), "-X", "-q", *variables]
    subprocess.run(command, input=printed, text=True, timeout=60, check=True, capture_output=True)


def test_from_the_owner_s_refusal_to_a_migrated_database(
    server: PostgresServer, database: ConversationsDatabase, shared: list[ConversationsDatabase]
) -> None:
    with pytest.raises(MigrationError, match=r"database\.roles\.create=false"):
        database.migrate()
    with pytest.raises(MigrationError, match="there is no role voice_agent; there is no role voice_reader"):
        database.migrate(create_database_roles=False)
    with pytest.raises(subprocess.CalledProcessError) as raised:
        run_script(server, {})
    assert 'syntax error at or near ":"' in raised.value.stderr
    run_script(server, {**PASSWORDS, "voice_closer": "an older 'one'"})
    with pytest.raises(MigrationError, match="voice_closer cannot log in with closer-password of the Secret"):
        database.migrate(create_database_roles=False)
    run_script(server, PASSWORDS)
    database.migrate(create_database_roles=False)
    agent = database.new_conversation()
    agent.start()
    assert agent.append(message(1, "written")) == 1
    # They are as the migrations themselves would make them.
    query = (
        "SELECT rolname, rolcanlogin, rolinherit, rolconnlimit, rolconfig FROM pg_roles "
        "WHERE rolname = ANY(%s) ORDER BY rolname"
    )
    shared[0].migrate(agent_connection_limit=60)
    assert database.query(query, list(PASSWORDS)) == shared[0].query(query, list(PASSWORDS))


def test_a_server_without_the_page_of_calls_needs_no_role_for_it(tmp_path: Path) -> None:
    with running_postgres() as made:
        database = ConversationsDatabase(made, made.create_database(), tmp_path)
        run_script(made, {role: password for role, password in PASSWORDS.items() if role != VIEWER})
        database.migrate(create_database_roles=False, viewer_database_password=None)
        with pytest.raises(MigrationError, match=r"^there is no role voice_viewer\. Have"):
            database.migrate(create_database_roles=False)


def test_releases_that_share_a_server_migrate_at_once(shared: list[ConversationsDatabase]) -> None:
    for database in shared:
        database.new_conversation().start()
    with ThreadPoolExecutor(len(shared)) as threads:
        list(threads.map(ConversationsDatabase.migrate, shared))


def test_who_is_no_owner_is_told(server: PostgresServer, database: ConversationsDatabase) -> None:
    with psycopg.connect(server.superuser_url(), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{database.name}" OWNER TO postgres'.encode())
    with pytest.raises(MigrationError, match=f'ALTER DATABASE "{database.name}" OWNER TO "{OWNER}"'):
        database.migrate()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "nowhere"}, "there is no such database"),
        ({"password": "wrong"}, "the password is not that of"),
        ({"user": "nobody"}, "the password is not that of"),
        ({"query": "?sslmode=require"}, "the server has no TLS"),
    ],
    ids=str,
)
def test_what_waiting_does_not_mend_is_said_at_once(
    database: ConversationsDatabase, change: dict[str, str], said: str
) -> None:
    other = replace(database, name=change.get("name", database.name))
    url = other.server.url(other.name, change.get("user", OWNER), change.get("password", "owner-password"))
    with pytest.raises(MigrationError, match=said):
        database.migrate(database_url=SecretStr(url + change.get("query", "")), database_wait_seconds=3600)
