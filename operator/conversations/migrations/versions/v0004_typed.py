"""How much a customer has typed, for whoever goes on."""

from conversations.sql_file import run_sql_of

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Runs the SQL file beside this one."""
    run_sql_of(__file__)


def downgrade() -> None:
    """There is none: restore a backup instead."""
    raise NotImplementedError("the older schema refuses what agents of this release keep")
