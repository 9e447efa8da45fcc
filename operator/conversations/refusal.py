"""Why a database is not migrated: in one sentence that says what to do, without what stands in rows."""

import psycopg
from sqlalchemy.exc import DBAPIError


class MigrationError(Exception):
    """The database could not be migrated; the message says why and what to do."""


def describe_refusal(error: psycopg.Error | DBAPIError) -> str:
    """Returns what Postgres says, in its first line; where that may quote a row, only of what kind it is."""
    said = cause_of(error)
    lines = [] if isinstance(said, psycopg.DataError | psycopg.IntegrityError) else str(said).splitlines()
    return ": ".join([type(said).__name__, *lines[:1]])


def cause_of(error: psycopg.Error | DBAPIError) -> BaseException | None:
    """Returns the driver's own error, which SQLAlchemy wraps."""
    return error.orig if isinstance(error, DBAPIError) else error
