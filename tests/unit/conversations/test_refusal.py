"""What is told of a migration that Postgres refused."""

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from conversations.refusal import describe_refusal

DENIED = "permission denied to create role"
QUOTES = 'invalid input syntax for type uuid: "my card is 4711"'


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.InsufficientPrivilege(f"{DENIED}\nDETAIL: only roles ..."), f"InsufficientPrivilege: {DENIED}"),
        (errors.InvalidTextRepresentation(QUOTES), "InvalidTextRepresentation"),
        (errors.UniqueViolation("duplicate key"), "UniqueViolation"),
        (psycopg.OperationalError(""), "OperationalError"),
    ],
)
def test_postgres_has_its_say_but_for_what_stands_in_rows(error: psycopg.Error, told: str) -> None:
    assert describe_refusal(error) == told
    assert describe_refusal(DBAPIError("ALTER ROLE ... PASSWORD", None, error)) == told
