"""Ends that are fenced by attempt, the list of what is open, and rows that come late."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Runs the SQL file beside this one."""
    statements = Path(__file__).with_suffix(".sql").read_text()
    # As it is: neither `::text` nor `%` in it stands for a parameter.
    op.get_bind().exec_driver_sql(statements, execution_options={"no_parameters": True})


def downgrade() -> None:
    """There is none: restore a backup instead."""
    raise NotImplementedError("a conversation that a later attempt has opened again cannot be told by the older schema")
