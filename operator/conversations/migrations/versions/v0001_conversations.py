"""Tables, write key and functions of the conversations."""

from conversations.sql_file import run_sql_of

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Runs the SQL file beside this one."""
    run_sql_of(__file__)


def downgrade() -> None:
    """There is none: it would drop the conversations."""
    raise NotImplementedError("conversations are never dropped by a migration; restore a backup instead")
