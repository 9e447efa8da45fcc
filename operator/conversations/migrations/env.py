"""Alembic's entry: runs the migrations on the connection and in the transaction that `migrate.py` hands over."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    **context.config.attributes["where_revisions_stand"],
)
context.run_migrations()
