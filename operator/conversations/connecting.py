"""The owner's connection to Postgres: waited for while it may still come, given up in a sentence where it cannot."""

import logging
import re
import time

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import NullPool

from conversations.refusal import MigrationError

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0
CONNECT_SECONDS = 5

# What waiting does not mend, as libpq and Postgres word it, and what to do. Whatever else they say may pass: nobody
# listens yet, the name is not known yet, the server starts.
HOPELESS = {
    r"password authentication failed|no password supplied": (
        "the password is not that of {user}: put the right one into the Secret of postgres.external.passwordSecret, or "
        "give {user} the one that is in it. The chart's own Postgres has kept the one that it was made with"
    ),
    r'database ".*" does not exist|no such database': (
        "there is no such database: set database.name to one that there is, or run CREATE DATABASE {database} OWNER "
        "{user}"
    ),
    r'role ".*" does not exist|is not permitted to log in': (
        "{user} may not log in: set postgres.external.user to the database's owner"
    ),
    r"permission denied for database": "{user} may not connect to it: run ALTER DATABASE {database} OWNER TO {user}",
    r"no pg_hba\.conf entry|pg_hba\.conf rejects": (
        "the server lets nobody in from here in this way: allow it in its pg_hba.conf; where that wants TLS, set "
        "postgres.external.sslmode=require or verify-full"
    ),
    r"does not support SSL": "the server has no TLS: turn it on there, or set postgres.external.sslmode=disable",
    r"SSL error: (?!unexpected eof)|certificate": (
        "the server's certificate is not what it should be: ca.crt in the Secret of postgres.external.caSecret has to "
        "be the authority that signed it, and with sslmode=verify-full it has to bear the name in "
        "postgres.external.host"
    ),
}


def build_engine(url: str | URL) -> Engine:
    """Returns an engine for a `postgresql://` URL, whatever driver it names: ours is psycopg.

    Raises:
        MigrationError: it is none.
    """
    try:
        parsed = make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        # What is wrong with it may be its password.
        raise MigrationError(
            "DATABASE_URL is no postgresql://USER@HOST:PORT/DATABASE: the port is a number, and no part of the host"
        ) from None
    return create_engine(
        parsed,
        poolclass=NullPool,
        connect_args={"connect_timeout": CONNECT_SECONDS, "prepare_threshold": None},
    )


def wait_for_database(engine: Engine, seconds: float) -> Connection:
    """Returns a connection as soon as there is one; says every time why not.

    Raises:
        MigrationError: none within `seconds`, or at once where waiting does not help.
    """
    where = engine.url.set(drivername="postgresql").render_as_string(hide_password=True)
    started = time.monotonic()
    while True:
        try:
            return engine.connect()
        except OperationalError as error:
            reason = reason_of(error)
            if advice := advise(reason, engine.url):
                raise MigrationError(f"no connection to {where}: {advice}. It was said: {reason}") from error
            waited = time.monotonic() - started
            if waited + RETRY_SECONDS > seconds:
                raise MigrationError(
                    f"no connection to {where} within {seconds:.0f} s: check that Postgres runs there, and that a "
                    f"NetworkPolicy lets this pod reach it. It was said: {reason}"
                ) from error
            log.info(
                "waiting for the database",
                extra={"waitedSeconds": round(waited), "timeoutSeconds": seconds, "reason": reason},
            )
            time.sleep(RETRY_SECONDS)


def reason_of(error: OperationalError) -> str:
    """Returns in one line why there is no connection."""
    return " ".join(str(error.orig).split())


def advise(reason: str, url: URL) -> str | None:
    """Returns what to do about a connection's refusal, or None where it may pass."""
    for pattern, advice in HOPELESS.items():
        if re.search(pattern, reason):
            return advice.format(user=f'"{url.username}"', database=f'"{url.database}"')
    return None
