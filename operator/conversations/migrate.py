"""Brings a database to the state that the services expect: roles, schema, functions, key. Safe to run again."""

import logging
import time
from pathlib import Path
from typing import cast

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import Connection as PsycopgConnection
from psycopg import sql
from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from conversations.settings import MigrationSettings
from conversations.write_key import hmac_pads
from voicesession.key_files import load_key

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0
CONNECT_SECONDS = 5
# Any constant of our own: two migrations at once take their turns.
MIGRATION_LOCK = 0x766F696365

# A role's own limits: a stuck or hostile client holds no connection of the shared pool for long.
ROLE_LIMITS = {"statement_timeout": "15s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "15s"}


class MigrationError(Exception):
    """The database could not be migrated; the message says why and what to do."""


def run_migrations(settings: MigrationSettings) -> None:
    """Migrates the database in one transaction.

    Raises:
        MigrationError: the database was not reachable in time, it refused, or its set-up leaves agents more than they
            may have.
        KeyFileError: the key file is of no use.
    """
    key = load_key(settings.conversation_key_file)
    engine = build_engine(settings.database_url.get_secret_value())
    try:
        with wait_for_database(engine, settings.database_wait_seconds) as connection, connection.begin():
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            _ensure_roles(_driver(connection), settings.passwords())
            _ensure_schema(connection)
            command.upgrade(_alembic_config(connection), "head")
            _store_key(connection, key)
            _check_agents_make_nothing(connection)
    except (psycopg.Error, DBAPIError) as error:
        raise MigrationError(f"Postgres refused: {describe_refusal(error)}") from error
    finally:
        engine.dispose()
    log.info("the database is migrated")


def describe_refusal(error: psycopg.Error | DBAPIError) -> str:
    """Returns what Postgres says, in its first line; where that may quote a row, only of what kind it is."""
    said = error.orig if isinstance(error, DBAPIError) else error
    lines = [] if isinstance(said, psycopg.DataError | psycopg.IntegrityError) else str(said).splitlines()
    return ": ".join([type(said).__name__, *lines[:1]])


def build_engine(url: str) -> Engine:
    """Returns an engine for a `postgresql://` URL, whatever driver it names: ours is psycopg."""
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    return create_engine(
        parsed,
        poolclass=NullPool,
        connect_args={"connect_timeout": CONNECT_SECONDS, "prepare_threshold": None},
    )


def wait_for_database(engine: Engine, seconds: float) -> Connection:
    """Returns a connection as soon as there is one; says every time why not.

    Raises:
        MigrationError: none within `seconds`.
    """
    where = engine.url.render_as_string(hide_password=True)
    started = time.monotonic()
    while True:
        try:
            return engine.connect()
        except OperationalError as error:
            waited = time.monotonic() - started
            reason = " ".join(str(error.orig).split())
            if waited + RETRY_SECONDS > seconds:
                raise MigrationError(
                    f"no connection to {where} within {seconds:.0f} s: {reason}. Check that it runs, that a "
                    "NetworkPolicy lets this pod reach it, and the user and password in DATABASE_URL"
                ) from error
            log.info(
                "waiting for the database",
                extra={"waitedSeconds": round(waited), "timeoutSeconds": seconds, "reason": reason},
            )
            time.sleep(RETRY_SECONDS)


def _driver(connection: Connection) -> PsycopgConnection:
    return cast(PsycopgConnection, connection.connection.driver_connection)


def _ensure_roles(driver: PsycopgConnection, passwords: dict[str, str]) -> None:
    with driver.cursor() as cursor:
        for role, password in passwords.items():
            name = sql.Identifier(role)
            if cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
                cursor.execute(sql.SQL("CREATE ROLE {} NOINHERIT").format(name))
            # Hashed here: a password in a statement could end in the server's log.
            hashed = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            cursor.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(hashed)))
            for setting, value in ROLE_LIMITS.items():
                cursor.execute(
                    sql.SQL("ALTER ROLE {} SET {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
                )


def _ensure_schema(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS voice")
    database = connection.dialect.identifier_preparer.quote(str(connection.engine.url.database))
    # So that people who log in as the owner need not write the schema.
    connection.exec_driver_sql(f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET search_path = voice, public")
    # An agent that could make a temporary type would leave it in a connection that PgBouncer gives to other agents,
    # and names of types are looked up there first: it could read what they write.
    connection.exec_driver_sql(f"REVOKE TEMPORARY, CREATE ON DATABASE {database} FROM PUBLIC")
    connection.exec_driver_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")


def _alembic_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _store_key(connection: Connection, key: bytes) -> None:
    connection.exec_driver_sql(
        "INSERT INTO voice.write_key (inner_pad, outer_pad) VALUES (%s, %s) "
        "ON CONFLICT (only_row) DO UPDATE SET inner_pad = excluded.inner_pad, outer_pad = excluded.outer_pad",
        hmac_pads(key),
    )


def _check_agents_make_nothing(connection: Connection) -> None:
    found = connection.exec_driver_sql(
        "SELECT has_database_privilege('voice_agent', current_database(), 'TEMPORARY'), "
        "has_database_privilege('voice_agent', current_database(), 'CREATE'), "
        "coalesce(bool_or(has_schema_privilege('voice_agent', oid, 'CREATE')), false) FROM pg_namespace"
    ).one()
    if any(found):
        raise MigrationError(
            "the role voice_agent may create objects in this database, which lets one agent listen to others. As the "
            "database's owner run: REVOKE TEMPORARY, CREATE ON DATABASE … FROM PUBLIC; and for each schema: "
            "REVOKE CREATE ON SCHEMA … FROM PUBLIC"
        )
