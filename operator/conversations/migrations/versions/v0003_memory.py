"""Sentences that are still being said, and what an agent keeps for whoever goes on."""

from conversations.sql_file import run_sql_of

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Runs the SQL file beside this one."""
    run_sql_of(__file__)


def downgrade() -> None:
    """There is none: restore a backup instead."""
    raise NotImplementedError("the older schema cannot tell a sentence that was cut off from a whole one")
