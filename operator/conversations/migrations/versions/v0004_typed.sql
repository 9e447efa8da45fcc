-- A later attempt goes on counting what the customer has typed.
-- Runs as the owner.

ALTER TABLE voice.conversation_memory
    DROP CONSTRAINT conversation_memory_name_check,
    ADD CONSTRAINT conversation_memory_name_check CHECK (name IN ('saved', 'userdata', 'typed'));
COMMENT ON TABLE voice.conversation_memory IS
    'What an agent keeps for a later attempt: by its own code, as the userdata of its session, and how much was typed.';
