-- The conversations: two tables, the key that signs write tokens, and the functions by which alone services reach them.
-- Runs as the owner, after the roles voice_agent, voice_reader and voice_closer have been made.

CREATE TABLE voice.conversation_sessions (
    session_id     uuid        PRIMARY KEY,
    room_id        text        NOT NULL,
    participant_id text,
    llm_provider   text,
    is_local_mode  boolean     NOT NULL,
    profile        text        NOT NULL,
    tenant         text,
    attempts       int         NOT NULL CHECK (attempts >= 1),
    created_at     timestamptz NOT NULL DEFAULT now(),
    ended_at       timestamptz,
    end_reason     text,
    usage          jsonb,
    CONSTRAINT ended_for_a_reason CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
CREATE INDEX conversation_sessions_open ON voice.conversation_sessions (created_at) WHERE ended_at IS NULL;
CREATE INDEX conversation_sessions_room ON voice.conversation_sessions (room_id);

CREATE TABLE voice.conversation_messages (
    id          bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,
    session_id  uuid        NOT NULL REFERENCES voice.conversation_sessions ON DELETE CASCADE,
    item_id     text        NOT NULL,
    position    int         NOT NULL,
    attempt     int         NOT NULL,
    kind        text        NOT NULL CHECK (kind IN ('message', 'tool_call', 'tool_result', 'handoff')),
    role        text,
    content     text,
    interrupted boolean     NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL,
    written_at  timestamptz NOT NULL DEFAULT now(),
    latencies   jsonb,
    usage       jsonb,
    tool        jsonb,
    PRIMARY KEY (session_id, item_id)
);
CREATE INDEX conversation_messages_in_order ON voice.conversation_messages (session_id, position, attempt);

COMMENT ON TABLE voice.conversation_sessions IS 'One row a conversation; open while ended_at is null.';
COMMENT ON TABLE voice.conversation_messages IS 'What was said and done in a conversation, in order of position, attempt.';
COMMENT ON COLUMN voice.conversation_messages.content IS 'The words as they were heard: cut where the customer interrupted.';

-- The HMAC key in the form that the computation needs: the 64-byte key XORed with 0x36… and with 0x5c….
CREATE TABLE voice.write_key (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    inner_pad bytea NOT NULL CHECK (octet_length(inner_pad) = 64),
    outer_pad bytea NOT NULL CHECK (octet_length(outer_pad) = 64)
);

REVOKE ALL ON ALL TABLES IN SCHEMA voice FROM PUBLIC;

-- Every function below that a role may call is SECURITY DEFINER with a pinned search_path, and names each object with
-- its schema. In them a bare name is a column, and `function.name` a parameter.

CREATE FUNCTION voice.require_token(session_id uuid, attempt int, token text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    expected text;
BEGIN
    SELECT encode(sha256(k.outer_pad || sha256(k.inner_pad || convert_to(
               require_token.session_id::text || '|' || require_token.attempt::text, 'UTF8'))), 'hex')
      INTO expected
      FROM voice.write_key k;
    -- Hashes are compared, so that the time taken tells nothing about the token.
    IF expected IS NULL OR require_token.token IS NULL
       OR sha256(convert_to(require_token.token, 'UTF8')) <> sha256(convert_to(expected, 'UTF8')) THEN
        RAISE EXCEPTION 'the write token is not for this attempt of this conversation' USING ERRCODE = 'VA001';
    END IF;
END $$;

-- Locks the conversation for writing by this attempt, which from now on is the youngest that may.
CREATE FUNCTION voice.lock_conversation(session_id uuid, attempt int, token text) RETURNS voice.conversation_sessions
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    conversation voice.conversation_sessions;
BEGIN
    PERFORM voice.require_token(lock_conversation.session_id, lock_conversation.attempt, lock_conversation.token);
    SELECT * INTO conversation FROM voice.conversation_sessions s
     WHERE s.session_id = lock_conversation.session_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this conversation has not been started' USING ERRCODE = 'VA004';
    END IF;
    IF conversation.attempts > lock_conversation.attempt THEN
        RAISE EXCEPTION 'attempt % is over: attempt % has taken this conversation over',
            lock_conversation.attempt, conversation.attempts USING ERRCODE = 'VA002';
    END IF;
    IF conversation.attempts < lock_conversation.attempt THEN
        UPDATE voice.conversation_sessions s SET attempts = lock_conversation.attempt
         WHERE s.session_id = lock_conversation.session_id;
    END IF;
    RETURN conversation;
END $$;

CREATE FUNCTION voice.start_conversation(
    session_id uuid, attempt int, token text, room_id text, participant_id text, llm_provider text,
    is_local_mode boolean, profile text, tenant text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    conversation voice.conversation_sessions;
BEGIN
    PERFORM voice.require_token(start_conversation.session_id, start_conversation.attempt, start_conversation.token);
    INSERT INTO voice.conversation_sessions
        (session_id, attempts, room_id, participant_id, llm_provider, is_local_mode, profile, tenant)
    VALUES (start_conversation.session_id, start_conversation.attempt, start_conversation.room_id,
            start_conversation.participant_id, start_conversation.llm_provider, start_conversation.is_local_mode,
            start_conversation.profile, start_conversation.tenant)
    ON CONFLICT (session_id) DO NOTHING;
    IF FOUND THEN
        RETURN;
    END IF;
    conversation := voice.lock_conversation(
        start_conversation.session_id, start_conversation.attempt, start_conversation.token);
    IF conversation.ended_at IS NOT NULL THEN
        RAISE EXCEPTION 'this conversation has ended' USING ERRCODE = 'VA003';
    END IF;
    -- A later attempt may be served by another provider, and may know the customer whom the first never met.
    UPDATE voice.conversation_sessions s
       SET llm_provider = start_conversation.llm_provider,
           participant_id = coalesce(start_conversation.participant_id, s.participant_id)
     WHERE s.session_id = start_conversation.session_id;
END $$;

CREATE FUNCTION voice.append_items(session_id uuid, attempt int, token text, items jsonb) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    conversation voice.conversation_sessions;
    written int;
BEGIN
    conversation := voice.lock_conversation(append_items.session_id, append_items.attempt, append_items.token);
    IF conversation.ended_at IS NOT NULL THEN
        RAISE EXCEPTION 'this conversation has ended' USING ERRCODE = 'VA003';
    END IF;
    INSERT INTO voice.conversation_messages
        (session_id, item_id, position, attempt, kind, role, content, interrupted, created_at, latencies, usage, tool)
    SELECT append_items.session_id, i."itemId", i.position, append_items.attempt, i.kind, i.role, i.content,
           coalesce(i.interrupted, false), coalesce(i."createdAt", now()), i.latencies, i.usage, i.tool
      FROM jsonb_to_recordset(append_items.items) AS i(
           "itemId" text, position int, kind text, role text, content text, interrupted boolean,
           "createdAt" timestamptz, latencies jsonb, usage jsonb, tool jsonb)
     ORDER BY i.position
    ON CONFLICT (session_id, item_id) DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END $$;

CREATE FUNCTION voice.load_history(session_id uuid, attempt int, token text) RETURNS SETOF voice.conversation_messages
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM voice.require_token(load_history.session_id, load_history.attempt, load_history.token);
    IF EXISTS (SELECT FROM voice.conversation_sessions s
                WHERE s.session_id = load_history.session_id AND s.attempts > load_history.attempt) THEN
        RAISE EXCEPTION 'attempt % is over: a later one has taken this conversation over', load_history.attempt
            USING ERRCODE = 'VA002';
    END IF;
    RETURN QUERY SELECT m.* FROM voice.conversation_messages m
                  WHERE m.session_id = load_history.session_id ORDER BY m.position, m.attempt;
END $$;

CREATE FUNCTION voice.end_conversation(
    session_id uuid, attempt int, token text, end_reason text, ended_at timestamptz, usage jsonb
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM voice.lock_conversation(end_conversation.session_id, end_conversation.attempt, end_conversation.token);
    -- Ended before: an answer was lost and the agent asks again, or the operator was first. Either way it has ended.
    UPDATE voice.conversation_sessions s
       SET ended_at = coalesce(end_conversation.ended_at, now()),
           end_reason = end_conversation.end_reason,
           usage = end_conversation.usage
     WHERE s.session_id = end_conversation.session_id AND s.ended_at IS NULL;
END $$;

CREATE FUNCTION voice.close_conversation(session_id uuid, end_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE voice.conversation_sessions s SET ended_at = now(), end_reason = close_conversation.end_reason
     WHERE s.session_id = close_conversation.session_id AND s.ended_at IS NULL;
    RETURN FOUND;
END $$;

CREATE FUNCTION voice.read_transcript(session_id uuid) RETURNS SETOF voice.conversation_messages
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.* FROM voice.conversation_messages m
     WHERE m.session_id = read_transcript.session_id ORDER BY m.position, m.attempt
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA voice FROM PUBLIC;
GRANT USAGE ON SCHEMA voice TO voice_agent, voice_reader, voice_closer;
GRANT EXECUTE ON FUNCTION
    voice.start_conversation(uuid, int, text, text, text, text, boolean, text, text),
    voice.append_items(uuid, int, text, jsonb),
    voice.load_history(uuid, int, text),
    voice.end_conversation(uuid, int, text, text, timestamptz, jsonb)
    TO voice_agent;
GRANT EXECUTE ON FUNCTION voice.close_conversation(uuid, text) TO voice_closer;
GRANT EXECUTE ON FUNCTION voice.read_transcript(uuid) TO voice_reader;
