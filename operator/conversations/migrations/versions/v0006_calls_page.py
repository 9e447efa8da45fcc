"""Conversations are found: a tenant's, or everybody's, the newest first."""

from conversations.sql_file import run_sql_of

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Runs the SQL file beside this one."""
    run_sql_of(__file__)


def downgrade() -> None:
    """There is none: restore a backup instead."""
    raise NotImplementedError("nothing is migrated backwards")
