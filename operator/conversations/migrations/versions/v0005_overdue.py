"""Statements of agents that go on though nobody waits for them are ended."""

from conversations.sql_file import run_sql_of

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Runs the SQL file beside this one."""
    run_sql_of(__file__)


def downgrade() -> None:
    """There is none: restore a backup instead."""
    raise NotImplementedError("nothing is migrated backwards")
