-- A later attempt goes on in mid-sentence, and with what the agent's code has kept.
-- Runs as the owner. What agents call keeps its signature: pods of the version before go on writing.

ALTER TABLE voice.conversation_messages ADD COLUMN provisional boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN voice.conversation_messages.provisional IS
    'Written while it was being said, a little behind; the whole sentence takes its place. If none has, it was cut off.';

CREATE TABLE voice.conversation_memory (
    session_id uuid        NOT NULL REFERENCES voice.conversation_sessions ON DELETE CASCADE,
    name       text        NOT NULL CHECK (name IN ('saved', 'userdata')),
    value      jsonb       NOT NULL CHECK (octet_length(value::text) <= 131072),
    attempt    int         NOT NULL,
    saved_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (session_id, name)
);
COMMENT ON TABLE voice.conversation_memory IS
    'What an agent keeps for a later attempt: by its own code, and as the userdata of its session.';
REVOKE ALL ON voice.conversation_memory FROM PUBLIC;

-- A whole sentence takes the place of what was written while it was being said, also where a later attempt writes it,
-- which was told by the earlier one.
CREATE OR REPLACE FUNCTION voice.insert_items(session_id uuid, attempt int, items jsonb) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    written int;
BEGIN
    DELETE FROM voice.conversation_messages m
     USING jsonb_to_recordset(insert_items.items) AS i("itemId" text)
     WHERE m.session_id = insert_items.session_id AND m.item_id = i."itemId"
       AND m.attempt <= insert_items.attempt AND m.provisional;
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

-- Locks the conversation for writing by this attempt, which refuses one that has ended.
CREATE FUNCTION voice.lock_open_conversation(session_id uuid, attempt int, token text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    conversation voice.conversation_sessions;
BEGIN
    conversation := voice.lock_conversation(
        lock_open_conversation.session_id, lock_open_conversation.attempt, lock_open_conversation.token);
    IF conversation.ended_at IS NOT NULL THEN
        RAISE EXCEPTION 'this conversation has ended' USING ERRCODE = 'VA003';
    END IF;
END $$;

-- Writes what has been said so far of a sentence, in place of what there was of it.
CREATE FUNCTION voice.write_draft(session_id uuid, attempt int, token text, item jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM voice.lock_open_conversation(write_draft.session_id, write_draft.attempt, write_draft.token);
    INSERT INTO voice.conversation_messages AS m
        (session_id, item_id, position, attempt, kind, role, content, interrupted, created_at, provisional)
    SELECT write_draft.session_id, i."itemId", i.position, write_draft.attempt, 'message', i.role, i.content, true,
           coalesce(i."createdAt", now()), true
      FROM jsonb_to_record(write_draft.item) AS i(
           "itemId" text, position int, role text, content text, "createdAt" timestamptz)
    ON CONFLICT (session_id, item_id) DO UPDATE SET content = excluded.content, written_at = now()
     WHERE m.provisional AND m.attempt = excluded.attempt;
END $$;

CREATE FUNCTION voice.save_memory(session_id uuid, attempt int, token text, name text, value jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM voice.lock_open_conversation(save_memory.session_id, save_memory.attempt, save_memory.token);
    INSERT INTO voice.conversation_memory (session_id, name, value, attempt)
    VALUES (save_memory.session_id, save_memory.name, save_memory.value, save_memory.attempt)
    ON CONFLICT (session_id, name) DO UPDATE SET value = excluded.value, attempt = excluded.attempt, saved_at = now();
END $$;

CREATE FUNCTION voice.load_memory(session_id uuid, attempt int, token text) RETURNS TABLE (name text, value jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM voice.require_token(load_memory.session_id, load_memory.attempt, load_memory.token);
    RETURN QUERY SELECT m.name, m.value FROM voice.conversation_memory m
                  WHERE m.session_id = load_memory.session_id;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA voice FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    voice.write_draft(uuid, int, text, jsonb),
    voice.save_memory(uuid, int, text, text, jsonb),
    voice.load_memory(uuid, int, text)
    TO voice_agent;
