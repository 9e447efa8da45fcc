"""The conversations' Postgres: migrations, functions, roles."""
