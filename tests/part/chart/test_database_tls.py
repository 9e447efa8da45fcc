"""A Postgres whose certificate is checked: what the chart renders for it, run against one with TLS."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from conversations.migrate import run_migrations
from conversations.refusal import MigrationError
from local_cluster.pki import Authority
from local_cluster.ports import LOOPBACK_6
from testing.chart import Raw, environment_of, render
from testing.conversations import PASSWORDS, ConversationsDatabase
from testing.postgres import OWNER, PASSWORD, SYSTEM_USER, PgBouncerProcess, PostgresServer, running_postgres
from testing.rendered_pgbouncer import rendered_pgbouncer
from testing.waiting import eventually_sync

# One that SQL wants in quotes, and PgBouncer without.
DATABASE = "voice-prod"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[PostgresServer]:
    with running_postgres() as made:
        identity = authority.issue("postgres", "postgres", hosts=["localhost"])
        for source, name in ((identity.certificate, "server.crt"), (identity.key, "server.key")):
            target = made.folder / "data" / name
            shutil.copy(source, target)
            target.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(target, SYSTEM_USER, SYSTEM_USER)
        with psycopg.connect(made.superuser_url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET ssl = on")
            connection.execute("SELECT pg_reload_conf()")
            statement = sql.SQL("CREATE DATABASE {} OWNER {}")
            connection.execute(statement.format(sql.Identifier(DATABASE), sql.Identifier(OWNER)))
            eventually_sync(lambda: connection.execute("SHOW ssl").fetchone() == ("on",), 10, "the server has TLS")
        yield made


@pytest.fixture(scope="module")
def objects(server: PostgresServer) -> list[Raw]:
    external: dict[str, Any] = {"host": "localhost", "port": server.port, "user": OWNER, "passwordSecret": "db"}
    external |= {"sslmode": "verify-full", "caSecret": "ca"}
    return render({"database": {"name": DATABASE}, "postgres": {"enabled": False, "external": external}})


def migrate(server: PostgresServer, objects: list[Raw], ca: Path, folder: Path) -> None:
    """Runs the migrations by the URL that the chart gives them."""
    url = environment_of(objects, "Job", "migrations")["DATABASE_URL"].replace(
        "/etc/voice-agent/postgres-ca/ca.crt", str(ca)
    )
    settings = ConversationsDatabase(server, DATABASE, folder).settings()
    run_migrations(settings.model_copy(update={"database_url": SecretStr(url), "database_wait_seconds": 3600}))


def connect(bouncer: PgBouncerProcess) -> psycopg.Connection:
    """Connects by IPv6, as an agent does in a cluster that has nothing else."""
    url = f"postgresql://voice_reader:{PASSWORDS['voice_reader']}@[{LOOPBACK_6}]:{bouncer.port}/{DATABASE}"
    return psycopg.connect(url, connect_timeout=10, autocommit=True, prepare_threshold=None)


def test_the_right_authority(
    server: PostgresServer,
    objects: list[Raw],
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    migrate(server, objects, authority.certificate, tmp_path)
    with rendered_pgbouncer(server, objects, ca=authority.certificate) as bouncer, connect(bouncer) as connection:
        row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert row == (True,)


def test_another_authority(
    server: PostgresServer, objects: list[Raw], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    other = Authority(tmp_path / "other").certificate
    with pytest.raises(MigrationError, match=r"postgres\.external\.caSecret.*SSL error"):
        migrate(server, objects, other, tmp_path)
    with (
        rendered_pgbouncer(server, objects, ca=other, query_wait_timeout=2) as bouncer,
        pytest.raises(psycopg.OperationalError),
        connect(bouncer) as made,
    ):
        made.execute("SELECT 1")
