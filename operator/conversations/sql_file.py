"""Runs the SQL file that a migration is written in."""

from pathlib import Path

from alembic import op


def run_sql_of(migration: str) -> None:
    """Runs the SQL file beside a migration. `migration`: its `__file__`."""
    statements = Path(migration).with_suffix(".sql").read_text()
    # As it is: neither `::text` nor `%` in it stands for a parameter.
    op.get_bind().exec_driver_sql(statements, execution_options={"no_parameters": True})
