#!/bin/sh
# Starts Postgres; makes the database first where PGDATA (below a mounted volume) is empty. Arguments go to postgres.
#   POSTGRES_PASSWORD  the superuser's password; must be set the first time
#   POSTGRES_USER      the superuser's name, default postgres
#   POSTGRES_DB        a database to make, default the superuser's name
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD: the database is new and needs a superuser}"
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  # Made beside its place: a start that is cut short leaves nothing that looks like a database.
  new=$(dirname "$PGDATA")/new
  rm -rf "$new"
  mkdir -p "$new"
  printf '%s' "$POSTGRES_PASSWORD" > "$new.password"
  initdb --pgdata="$new" --username="$user" --pwfile="$new.password" --encoding=UTF8 --locale=C.UTF-8 \
    --auth-local=trust --auth-host=scram-sha-256
  rm "$new.password"
  echo "host all all all scram-sha-256" >> "$new/pg_hba.conf"
  if [ "$database" != postgres ]; then
    echo "CREATE DATABASE \"$database\"" | postgres --single -D "$new" postgres > /dev/null
  fi
  mv "$new" "$PGDATA"
fi
# The socket lies beside the data: the rest of the image may be mounted read-only.
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories="$(dirname "$PGDATA")" "$@"
