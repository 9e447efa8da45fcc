"""Brings a database to the state that the services expect: roles, schema, functions, key. Safe to run again."""

import logging
import time
from pathlib import Path
from typing import cast

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import Connection as PsycopgConnection
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from conversations.connecting import build_engine, wait_for_database
from conversations.refusal import MigrationError, cause_of, describe_refusal
from conversations.roles import allow_viewing, check_passwords, check_roles, ensure_roles
from conversations.settings import MigrationSettings
from conversations.write_key import hmac_pads
from voicesession.key_files import load_key

log = logging.getLogger(__name__)

# Any constant of our own: two migrations of a database at once take their turns.
MIGRATION_LOCK = 0x766F696365
# Such locks are a database's, roles the whole server's: migrations of two databases meet there. Then, and where the
# server restarts in the middle, all of it is done once more.
PASSING = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateObject,
    psycopg.errors.InternalError_,  # "tuple concurrently updated"
    psycopg.OperationalError,
)
TRIES = 10
TRY_AGAIN_SECONDS = 0.5
MIGRATIONS = Path(__file__).parent / "migrations"
NEWEST = "head"
WHERE_REVISIONS_STAND = {"version_table": "migrations", "version_table_schema": "voice"}


def run_migrations(settings: MigrationSettings) -> None:
    """Migrates the database in one transaction.

    A database that a newer release has migrated keeps its schema, and gets this one's passwords and key.

    Raises:
        MigrationError: the database was not reachable in time, it refused, the roles are not what they have to be, or
            its set-up leaves agents more than they may have.
        KeyFileError: the key file is of no use.
    """
    key = load_key(settings.conversation_key_file)
    engine = build_engine(settings.database_url.get_secret_value())
    deadline = time.monotonic() + settings.database_wait_seconds
    try:
        for tries_left in reversed(range(TRIES)):
            if _try_to_migrate(engine, settings, key, deadline, is_last=not tries_left):
                break
            time.sleep(TRY_AGAIN_SECONDS)
        if not settings.create_database_roles:
            check_passwords(engine.url, settings.passwords())
    finally:
        engine.dispose()
    log.info("the database is migrated")


def _try_to_migrate(engine: Engine, settings: MigrationSettings, key: bytes, deadline: float, *, is_last: bool) -> bool:
    """Returns False where it is worth another try."""
    try:
        with wait_for_database(engine, max(0, deadline - time.monotonic())) as connection, connection.begin():
            _migrate(connection, settings, key)
    except (psycopg.Error, DBAPIError) as error:
        if is_last or not isinstance(cause_of(error), PASSING):
            raise MigrationError(f"Postgres refused: {describe_refusal(error)}") from error
        log.info("migrating once more", extra={"reason": describe_refusal(error)})
        return False
    return True


def _migrate(connection: Connection, settings: MigrationSettings, key: bytes) -> None:
    driver = cast(PsycopgConnection, connection.connection.driver_connection)
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
    _check_owner(connection)
    if settings.create_database_roles:
        ensure_roles(driver, settings.passwords(), settings.agent_connection_limit)
    else:
        check_roles(driver, settings.passwords())
    _ensure_schema(connection)
    _upgrade(connection)
    allow_viewing(driver, settings.viewer_database_password is not None)
    _store_key(connection, key)
    _check_agents_make_nothing(connection)


def _check_owner(connection: Connection) -> None:
    user, database, owns = connection.exec_driver_sql(
        "SELECT current_user, datname, pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()"
    ).one()
    if not owns:
        raise MigrationError(
            f'"{user}" does not own the database "{database}": set postgres.external.user to its owner, or run '
            f'ALTER DATABASE "{database}" OWNER TO "{user}"'
        )


def _ensure_schema(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS voice")
    database = connection.dialect.identifier_preparer.quote(str(connection.engine.url.database))
    # So that people who log in as the owner need not write the schema.
    connection.exec_driver_sql(f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET search_path = voice, public")
    # Where the server lets nobody in by default.
    connection.exec_driver_sql(f"GRANT CONNECT ON DATABASE {database} TO voice_agent, voice_reader, voice_closer")
    # An agent that could make a temporary type would leave it in a connection that PgBouncer gives to other agents,
    # and names of types are looked up there first: it could read what they write.
    connection.exec_driver_sql(f"REVOKE TEMPORARY, CREATE ON DATABASE {database} FROM PUBLIC")
    connection.exec_driver_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    config.attributes["where_revisions_stand"] = WHERE_REVISIONS_STAND
    current = MigrationContext.configure(connection, opts=WHERE_REVISIONS_STAND).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        log.warning(
            "a newer release has migrated this database: its schema stays, and serves this release too",
            extra={"schema": current, "known": max(known)},
        )
        return
    command.upgrade(config, NEWEST)


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
