-- A statement of an agent's that PgBouncer has given up goes on in Postgres, and holds a connection, as long as it likes.
-- Runs as the owner, who has the rights of voice_agent: else it sees none of them, and ends none.

CREATE FUNCTION voice.end_overdue(older_than interval) RETURNS int
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT count(pg_terminate_backend(a.pid))::int FROM pg_stat_activity a
     WHERE a.usename = 'voice_agent' AND a.datname = current_database()
       AND a.state <> 'idle' AND a.query_start < now() - end_overdue.older_than
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA voice FROM PUBLIC;
GRANT EXECUTE ON FUNCTION voice.end_overdue(interval) TO voice_closer;
