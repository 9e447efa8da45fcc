"""The migration command against a real Postgres: from empty, again, at once, late, and with a wrong set-up."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory
from pydantic import SecretStr

from conversations.__main__ import main
from conversations.migrate import MIGRATIONS, run_migrations
from conversations.refusal import MigrationError
from local_cluster.ports import free_port
from testing.code_path import PYTHONPATH
from testing.conversations import KEY, PASSWORDS, ConversationsDatabase, connect_as, message
from testing.postgres import PostgresServer, running_postgres
from testing.waiting import eventually_sync
from voicesession.key_files import KeyFileError


@pytest.fixture
def empty(postgres: PostgresServer, tmp_path: Path) -> ConversationsDatabase:
    return ConversationsDatabase(postgres, postgres.create_database(), tmp_path)


def schema_of(database: ConversationsDatabase) -> str:
    """Returns everything that the schema consists of, as SQL."""
    command = ["pg_dump", "--schema-only", "--schema=voice", database.server.superuser_url(database.name)]
    dumped = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return "\n".join(line for line in dumped.splitlines() if not line.startswith(("--", "\\")))


def test_running_twice_changes_nothing(empty: ConversationsDatabase) -> None:
    empty.migrate()
    agent = empty.new_conversation()
    agent.start()
    agent.append(message(1, "kept"))
    before = schema_of(empty)
    empty.migrate()
    assert schema_of(empty) == before
    assert [row["content"] for row in agent.history()] == ["kept"]
    assert empty.query("SELECT version_num FROM voice.migrations") == [{"version_num": "0006"}]


def test_two_at_once_take_their_turns(empty: ConversationsDatabase) -> None:
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: empty.migrate(), range(3)))
    empty.new_conversation().start()


def test_passwords_are_renewed_and_stored_as_hashes_only(empty: ConversationsDatabase, tmp_path: Path) -> None:
    empty.migrate()
    empty.migrate(agent_database_password=SecretStr("another-password"))
    try:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect_as(empty, "voice_agent")
        psycopg.connect(empty.server.url(empty.name, "voice_agent", "another-password")).close()
    finally:
        empty.migrate()
    with psycopg.connect(empty.server.superuser_url()) as connection:
        rows = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'voice_%'").fetchall()
    assert all(row[0].startswith("SCRAM-SHA-256$") for row in rows)
    log = (empty.server.folder / "log").read_text()
    assert not any(password in log for password in [*PASSWORDS.values(), "another-password"])


def test_a_release_that_is_rolled_back_leaves_a_newer_schema_and_sets_its_passwords(
    empty: ConversationsDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    empty.migrate()
    with psycopg.connect(empty.server.url(empty.name)) as owner:
        owner.execute("ALTER TABLE voice.conversation_messages ADD COLUMN mood text")
        owner.execute("UPDATE voice.migrations SET version_num = '9999'")
    before = schema_of(empty)
    empty.migrate(agent_database_password=SecretStr("newer"))
    empty.migrate()
    assert "a newer release has migrated this database" in caplog.text
    assert schema_of(empty) == before
    agent = empty.new_conversation()
    agent.start()
    assert agent.append(message(1, "written by the older release")) == 1


# The first whose functions every later release keeps, and the first that has those of the page of calls.
PROMISED = "0002"
VIEWED = "0006"


def test_what_services_of_an_older_release_call_is_there_after_each_migration(
    empty: ConversationsDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    callable_by = (
        "SELECT r.rolname, p.oid::regprocedure::text AS call, pg_get_function_result(p.oid) AS result "
        "FROM pg_proc p, pg_roles r WHERE p.pronamespace = 'voice'::regnamespace AND r.rolname = ANY(%s) "
        "AND has_function_privilege(r.oid, p.oid, 'EXECUTE')"
    )
    revisions = [each.revision for each in ScriptDirectory(str(MIGRATIONS)).walk_revisions()][::-1]
    before: set[tuple[str, ...]] = set()
    for revision in revisions[revisions.index(PROMISED) :]:
        monkeypatch.setattr("conversations.migrate.NEWEST", revision)
        empty.migrate(**({} if revision >= VIEWED else {"viewer_database_password": None}))
        after = {tuple(row.values()) for row in empty.query(callable_by, list(PASSWORDS))}
        assert before <= after, revision
        before = after
    assert before


def test_a_failed_migration_leaves_nothing(empty: ConversationsDatabase) -> None:
    with psycopg.connect(empty.server.superuser_url(empty.name), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA shared")
        connection.execute("GRANT CREATE ON SCHEMA shared TO PUBLIC")
    with pytest.raises(MigrationError, match="REVOKE CREATE ON SCHEMA"):
        empty.migrate()
    assert empty.query("SELECT nspname FROM pg_namespace WHERE nspname = 'voice'") == []
    with psycopg.connect(empty.server.superuser_url(empty.name), autocommit=True) as connection:
        connection.execute("REVOKE CREATE ON SCHEMA shared FROM PUBLIC")
    empty.migrate()


def test_it_waits_for_a_database_that_comes_late(
    empty: ConversationsDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="conversations")
    with running_postgres() as late:
        database = ConversationsDatabase(late, late.create_database(), empty.folder)
        late.stop()
        with ThreadPoolExecutor(1) as threads:
            migration = threads.submit(database.migrate)
            eventually_sync(lambda: "waiting for the database" in caplog.text or migration.done())
            late.start()
            migration.result()
        database.new_conversation().start()
    assert "waiting for the database" in caplog.text


def test_it_gives_up_with_a_reason_and_without_the_password(
    empty: ConversationsDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql://voice_owner:owner-password@127.0.0.1:{free_port()}/voice"
    settings = empty.settings().model_copy(update={"database_url": SecretStr(url), "database_wait_seconds": 0})
    with pytest.raises(MigrationError, match="Connection refused") as raised:
        run_migrations(settings)
    assert "owner-password" not in str(raised.value) + caplog.text


@pytest.mark.parametrize("content", [None, b"", b"short", b" " * 40])
def test_a_useless_key_is_refused(empty: ConversationsDatabase, tmp_path: Path, content: bytes | None) -> None:
    key_file = tmp_path / "useless"
    if content is not None:
        key_file.write_bytes(content)
    settings = empty.settings().model_copy(update={"conversation_key_file": key_file})
    with pytest.raises(KeyFileError):
        run_migrations(settings)


def test_as_a_command(empty: ConversationsDatabase) -> None:
    settings = empty.settings()
    environment = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "CONVERSATION_KEY_FILE": str(settings.conversation_key_file),
        "AGENT_DATABASE_PASSWORD": PASSWORDS["voice_agent"],
        "READER_DATABASE_PASSWORD": PASSWORDS["voice_reader"],
        "CLOSER_DATABASE_PASSWORD": PASSWORDS["voice_closer"],
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": PYTHONPATH,
    }
    command = [sys.executable, "-m", "conversations", "migrate"]
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "the database is migrated" in done.stderr
        assert not any(password in done.stderr for password in [*PASSWORDS.values(), KEY.decode()])
    broken = {**environment, "CONVERSATION_KEY_FILE": "/nowhere"}
    done = subprocess.run(command, env=broken, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    incomplete = {name: value for name, value in environment.items() if name != "CLOSER_DATABASE_PASSWORD"}
    done = subprocess.run(command, env=incomplete, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "CLOSER_DATABASE_PASSWORD" in done.stderr
    assert not any(password in done.stderr for password in PASSWORDS.values())
    assert main(["improve"]) == 2
