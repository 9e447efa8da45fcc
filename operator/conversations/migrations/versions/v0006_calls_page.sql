-- Conversations are found, for the call's page: a tenant's by its name, which is a condition here, or without one all.
-- Runs as the owner. Who may call them is said by each migration anew, since a page can be switched on and off.

CREATE INDEX conversation_sessions_newest ON voice.conversation_sessions (created_at, session_id);
CREATE INDEX conversation_sessions_newest_of_tenant ON voice.conversation_sessions (tenant, created_at, session_id);

-- The newest conversations that were begun from `since` on and before `until`, older than (before_at, before_id), with
-- how many of their answers were measured, and how long the middle one took. What is null is no condition.
CREATE FUNCTION voice.list_conversations(
    of_tenant text, since timestamptz, until timestamptz, of_profile text, for_reason text, in_room text,
    before_at timestamptz, before_id uuid, at_most int
) RETURNS TABLE (
    session_id uuid, room_id text, profile text, tenant text, llm_provider text, attempts int, created_at timestamptz,
    ended_at timestamptz, end_reason text, answers int, median_answer_millis int
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Planned for what is asked this time, so that there is an index for it. What agents wrote may be no number, or
    -- too large a one.
    RETURN QUERY EXECUTE $query$
        WITH page AS (
            SELECT * FROM voice.conversation_sessions s
             WHERE ($1 IS NULL OR s.tenant = $1)
               AND ($2 IS NULL OR s.created_at >= $2)
               AND ($3 IS NULL OR s.created_at < $3)
               AND ($4 IS NULL OR s.profile = $4)
               AND ($5 IS NULL OR s.end_reason = $5)
               AND ($6 IS NULL OR s.room_id = $6)
               AND ($7 IS NULL OR (s.created_at, s.session_id) < ($7, $8))
             ORDER BY s.created_at DESC, s.session_id DESC
             LIMIT $9
        )
        SELECT p.session_id, p.room_id, p.profile, p.tenant, p.llm_provider, p.attempts, p.created_at, p.ended_at,
               p.end_reason, a.measured, a.middle
          FROM page p
          CROSS JOIN LATERAL (
              SELECT count(t.millis)::int AS measured,
                     round(percentile_cont(0.5) WITHIN GROUP (ORDER BY t.millis))::int AS middle
                FROM (SELECT CASE jsonb_typeof(m.latencies -> 'answerMillis') WHEN 'number'
                             THEN least((m.latencies ->> 'answerMillis')::numeric, 1000000000)::float8 END AS millis
                        FROM voice.conversation_messages m WHERE m.session_id = p.session_id) t
               WHERE t.millis >= 0
          ) a
         ORDER BY p.created_at DESC, p.session_id DESC
    $query$ USING of_tenant, since, until, of_profile, for_reason, in_room, before_at, before_id, at_most;
END $$;

-- The conversations of a room, the newest first: one of them first where it is named, and a page at most.
CREATE FUNCTION voice.find_conversation(of_tenant text, in_room text, named uuid)
RETURNS SETOF voice.conversation_sessions
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.* FROM voice.conversation_sessions s
     WHERE s.room_id = in_room AND (of_tenant IS NULL OR s.tenant = of_tenant)
     ORDER BY s.session_id IS NOT DISTINCT FROM named DESC, s.created_at DESC, s.session_id DESC LIMIT 50
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA voice FROM PUBLIC;
