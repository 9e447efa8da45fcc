"""Tables, write key and functions of the conversations."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Runs the SQL file beside this one."""
    statements = Path(__file__).with_suffix(".sql").read_text()
    # As it is: neither `::text` nor `%` in it stands for a parameter.
    op.get_bind().exec_driver_sql(statements, execution_options={"no_parameters": True})


def downgrade() -> None:
    """There is none: it would drop the conversations."""
    raise NotImplementedError("conversations are never dropped by a migration; restore a backup instead")
