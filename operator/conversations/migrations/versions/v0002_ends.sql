-- Every conversation gets its end, whoever has to write it, and every row its place, however late it comes.
-- Runs as the owner. What agents call keeps its signature: pods of the version before go on writing.

-- For the list of what is open, which is read page by page.
CREATE INDEX conversation_sessions_open_ids ON voice.conversation_sessions (session_id) WHERE ended_at IS NULL;

-- Locks the conversation for writing by this attempt, which from now on is the youngest that may. A later attempt goes
-- on with a conversation that was ended for an earlier one.
CREATE OR REPLACE FUNCTION voice.lock_conversation(session_id uuid, attempt int, token text)
RETURNS voice.conversation_sessions
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
    RETURN voice.take_over(conversation, lock_conversation.attempt);
END $$;

-- Gives a locked conversation to this attempt, if that is later than the one that has it.
CREATE FUNCTION voice.take_over(conversation voice.conversation_sessions, attempt int)
RETURNS voice.conversation_sessions
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF conversation.attempts < take_over.attempt THEN
        UPDATE voice.conversation_sessions s SET attempts = take_over.attempt, ended_at = NULL, end_reason = NULL
         WHERE s.session_id = conversation.session_id
        RETURNING s.* INTO conversation;
    END IF;
    RETURN conversation;
END $$;

CREATE FUNCTION voice.insert_items(session_id uuid, attempt int, items jsonb) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    written int;
BEGIN
    INSERT INTO voice.conversation_messages
        (session_id, item_id, position, attempt, kind, role, content, interrupted, created_at, latencies, usage, tool)
    SELECT insert_items.session_id, i."itemId", i.position, insert_items.attempt, i.kind, i.role, i.content,
           coalesce(i.interrupted, false), coalesce(i."createdAt", now()), i.latencies, i.usage, i.tool
      FROM jsonb_to_recordset(insert_items.items) AS i(
           "itemId" text, position int, kind text, role text, content text, interrupted boolean,
           "createdAt" timestamptz, latencies jsonb, usage jsonb, tool jsonb)
     ORDER BY i.position
    ON CONFLICT (session_id, item_id) DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END $$;

CREATE OR REPLACE FUNCTION voice.append_items(session_id uuid, attempt int, token text, items jsonb) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    conversation voice.conversation_sessions;
BEGIN
    conversation := voice.lock_conversation(append_items.session_id, append_items.attempt, append_items.token);
    IF conversation.ended_at IS NOT NULL THEN
        RAISE EXCEPTION 'this conversation has ended' USING ERRCODE = 'VA003';
    END IF;
    RETURN voice.insert_items(append_items.session_id, append_items.attempt, append_items.items);
END $$;

-- What an attempt could not write while it lived: its rows, and its own word on its end. Late is no fault here: a later
-- attempt may have the conversation by now, and the end may have been written for this one, by a guess that the agent's
-- own word replaces.
CREATE FUNCTION voice.deliver_conversation(
    session_id uuid, attempt int, token text, started jsonb, items jsonb, ended jsonb
) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    conversation voice.conversation_sessions;
    written int;
BEGIN
    PERFORM voice.require_token(
        deliver_conversation.session_id, deliver_conversation.attempt, deliver_conversation.token);
    INSERT INTO voice.conversation_sessions
        (session_id, attempts, room_id, participant_id, llm_provider, is_local_mode, profile, tenant, created_at)
    SELECT deliver_conversation.session_id, deliver_conversation.attempt, b."roomId", b."participantId",
           b."llmProvider", b."isLocalMode", b.profile, b.tenant, least(coalesce(b."startedAt", now()), now())
      FROM jsonb_to_record(deliver_conversation.started) AS b(
           "roomId" text, "participantId" text, "llmProvider" text, "isLocalMode" boolean, profile text, tenant text,
           "startedAt" timestamptz)
    ON CONFLICT (session_id) DO NOTHING;
    SELECT * INTO STRICT conversation FROM voice.conversation_sessions s
     WHERE s.session_id = deliver_conversation.session_id FOR UPDATE;
    conversation := voice.take_over(conversation, deliver_conversation.attempt);
    written := voice.insert_items(
        deliver_conversation.session_id, deliver_conversation.attempt, deliver_conversation.items);
    UPDATE voice.conversation_sessions s
       SET ended_at = greatest(s.created_at, e."endedAt"), end_reason = e.reason, usage = e.usage
      FROM jsonb_to_record(deliver_conversation.ended) AS e(reason text, "endedAt" timestamptz, usage jsonb)
     WHERE s.session_id = deliver_conversation.session_id AND s.attempts = deliver_conversation.attempt
       AND e.reason IS NOT NULL AND e."endedAt" IS NOT NULL;
    RETURN written;
END $$;

-- Ends a conversation for an agent that did not, unless a later attempt has it. Without `ended_at`: at its last word.
DROP FUNCTION voice.close_conversation(uuid, text);
CREATE FUNCTION voice.close_conversation(session_id uuid, attempt int, end_reason text, ended_at timestamptz)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE voice.conversation_sessions s
       SET end_reason = close_conversation.end_reason,
           ended_at = greatest(s.created_at, coalesce(close_conversation.ended_at, (
               SELECT max(m.written_at) FROM voice.conversation_messages m WHERE m.session_id = s.session_id)))
     WHERE s.session_id = close_conversation.session_id AND s.attempts <= close_conversation.attempt
       AND s.ended_at IS NULL;
    RETURN FOUND;
END $$;

-- Which conversations are open, in order of their ids, from the one after `after` on: a page of at most 1,000.
CREATE FUNCTION voice.open_conversations(after uuid) RETURNS TABLE (session_id uuid, attempts int)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.session_id, s.attempts FROM voice.conversation_sessions s
     WHERE s.ended_at IS NULL AND (open_conversations.after IS NULL OR s.session_id > open_conversations.after)
     ORDER BY s.session_id LIMIT 1000
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA voice FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    voice.close_conversation(uuid, int, text, timestamptz),
    voice.deliver_conversation(uuid, int, text, jsonb, jsonb, jsonb),
    voice.open_conversations(uuid)
    TO voice_closer;
