"""Alembic's entry: runs the migrations on the connection and in the transaction that `migrate.py` hands over."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="migrations",
    version_table_schema="voice",
)
context.run_migrations()
