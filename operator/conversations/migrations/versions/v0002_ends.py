"""Ends that are fenced by attempt, the list of what is open, and rows that come late."""

from conversations.sql_file import run_sql_of

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Runs the SQL file beside this one."""
    run_sql_of(__file__)


def downgrade() -> None:
    """There is none: restore a backup instead."""
    raise NotImplementedError("a conversation that a later attempt has opened again cannot be told by the older schema")
