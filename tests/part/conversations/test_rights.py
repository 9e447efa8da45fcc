"""What the services' database roles cannot do, above all: one agent reads and writes no other's conversation."""

from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from testing.conversations import PASSWORDS, ConversationsDatabase, connect_as, message
from voicesession.assignment import conversation_write_token

ROLES = sorted(PASSWORDS)
TABLES = ["conversation_sessions", "conversation_messages", "conversation_memory", "write_key", "migrations"]
DENIED = psycopg.errors.InsufficientPrivilege
UUID = "'6f1c8d0e-2f9a-4d53-9d0b-0d4c3c0c5b11'"
CALLS = {
    "start_conversation": f"({UUID}, 1, 't', 'r', 'p', 'l', true, 'd', 't')",
    "append_items": f"({UUID}, 1, 't', '[]')",
    "load_history": f"({UUID}, 1, 't')",
    "end_conversation": f"({UUID}, 1, 't', 'idle', now(), '{{}}')",
    "write_draft": f"({UUID}, 1, 't', '{{}}')",
    "save_memory": f"({UUID}, 1, 't', 'saved', '{{}}')",
    "load_memory": f"({UUID}, 1, 't')",
    "close_conversation": f"({UUID}, 1, 'error', NULL)",
    "deliver_conversation": f"({UUID}, 1, 't', '{{}}', '[]', '{{}}')",
    "open_conversations": "(NULL)",
    "end_overdue": "('1 hour')",
    "read_transcript": f"({UUID})",
    "list_conversations": "(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1)",
    "find_conversation": "(NULL, 'room', NULL)",
    "require_token": f"({UUID}, 1, 't')",
    "lock_conversation": f"({UUID}, 1, 't')",
    "lock_open_conversation": f"({UUID}, 1, 't')",
    "take_over": "(NULL, 1)",
    "insert_items": f"({UUID}, 1, '[]')",
}
GRANTED = {
    "voice_agent": {
        *("start_conversation", "append_items", "write_draft", "end_conversation"),
        *("load_history", "save_memory", "load_memory"),
    },
    "voice_reader": {"read_transcript"},
    "voice_closer": {"close_conversation", "deliver_conversation", "open_conversations", "end_overdue"},
    "voice_viewer": {"list_conversations", "find_conversation", "read_transcript"},
}
# They want the write token of the attempt, whoever calls them.
WITH_TOKEN = GRANTED["voice_agent"] | {"deliver_conversation"}


def test_these_are_all_tables_and_functions(conversations: ConversationsDatabase) -> None:
    tables = conversations.query(
        "SELECT relname FROM pg_class WHERE relnamespace = 'voice'::regnamespace AND relkind NOT IN ('i', 'c', 'S')"
    )
    assert sorted(row["relname"] for row in tables) == sorted(TABLES)
    functions = conversations.query("SELECT proname FROM pg_proc WHERE pronamespace = 'voice'::regnamespace")
    assert sorted(row["proname"] for row in functions) == sorted(CALLS)


@pytest.mark.parametrize("role", ROLES)
def test_no_table_can_be_touched(conversations: ConversationsDatabase, role: str) -> None:
    agent = conversations.new_conversation()
    agent.start()
    agent.append(message(1, "secret"))
    statements = [
        statement.format(table=f"voice.{table}")
        for table in TABLES
        for statement in (
            "SELECT * FROM {table}",
            "SELECT count(*) FROM {table}",
            "INSERT INTO {table} DEFAULT VALUES",
            "DELETE FROM {table}",
            "TRUNCATE {table}",
            "LOCK TABLE {table}",
            "COPY {table} TO STDOUT",
            "ALTER TABLE {table} ADD COLUMN x int",
            "CREATE TRIGGER t BEFORE INSERT ON {table} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "GRANT SELECT ON {table} TO voice_agent",
        )
    ]
    statements += [
        "SELECT * FROM voice.conversation_messages_id_seq",
        "UPDATE voice.conversation_sessions SET ended_at = now()",
        "UPDATE voice.write_key SET inner_pad = ''",
    ]
    with connect_as(conversations, role) as connection:
        for statement in statements:
            with pytest.raises(DENIED), connection.transaction():
                connection.execute(statement.encode())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("function", sorted(CALLS))
def test_only_the_granted_functions_can_be_called(
    conversations: ConversationsDatabase, role: str, function: str
) -> None:
    statement = f"SELECT * FROM voice.{function}{CALLS[function]}".encode()
    with connect_as(conversations, role) as connection:
        if function not in GRANTED[role]:
            with pytest.raises(DENIED):
                connection.execute(statement)
        elif function in WITH_TOKEN:
            with pytest.raises(psycopg.Error) as raised:
                connection.execute(statement)
            assert raised.value.sqlstate == "VA001"
        else:
            connection.execute(statement)


def test_where_the_page_of_calls_is_off_its_role_may_do_nothing(conversations: ConversationsDatabase) -> None:
    conversations.migrate(viewer_database_password=None)
    with connect_as(conversations, "voice_viewer") as connection:
        for function, arguments in CALLS.items():
            with pytest.raises(DENIED):
                connection.execute(f"SELECT * FROM voice.{function}{arguments}".encode())
    conversations.migrate()
    with connect_as(conversations, "voice_viewer") as connection:
        connection.execute("SELECT * FROM voice.find_conversation(NULL, 'room', NULL)")


@pytest.mark.parametrize("role", ROLES)
def test_nothing_can_be_made_that_other_clients_of_a_shared_connection_would_meet(
    conversations: ConversationsDatabase, role: str
) -> None:
    statements = [
        "CREATE TEMPORARY TABLE spy (words text)",
        "CREATE DOMAIN pg_temp.uuid AS text",
        "CREATE FUNCTION pg_temp.spy() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE voice.spy ()",
        "CREATE TABLE public.spy ()",
        "CREATE SCHEMA spy",
        "CREATE OR REPLACE FUNCTION voice.require_token(session_id uuid, attempt int, token text) RETURNS void "
        "LANGUAGE sql AS 'SELECT'",
        "ALTER FUNCTION voice.append_items(uuid, int, text, jsonb) RESET ALL",
        "CREATE ROLE spy",
        "SET ROLE voice_owner",
        "ALTER ROLE voice_owner PASSWORD 'x'",
    ]
    with connect_as(conversations, role) as connection:
        for statement in statements:
            with pytest.raises(DENIED):
                connection.execute(statement.encode())


@pytest.mark.parametrize("role", ROLES)
def test_statistics_tell_nothing(conversations: ConversationsDatabase, role: str) -> None:
    agent = conversations.new_conversation()
    agent.start()
    agent.append(message(1, "a secret word"))
    with psycopg.connect(conversations.server.superuser_url(conversations.name), autocommit=True) as superuser:
        superuser.execute("ANALYZE voice.conversation_sessions, voice.conversation_messages")
    # Another agent's connection, just after it wrote: the same role may see its statement's text.
    with connect_as(conversations, "voice_agent") as writing, connect_as(conversations, role) as connection:
        writing.execute("SELECT voice.append_items(%s, %s, %s, %s)", (*agent.credentials(), "[]"))
        assert connection.execute("SELECT * FROM pg_stats WHERE schemaname = 'voice'").fetchall() == []
        seen = str(connection.execute("SELECT query FROM pg_stat_activity").fetchall())
    assert ("append_items" in seen) is (role == "voice_agent")
    assert agent.session_id not in seen
    assert agent.credentials()[2] not in seen


def test_an_agent_reaches_no_other_conversation(conversations: ConversationsDatabase) -> None:
    mine, other = conversations.new_conversation(), conversations.new_conversation()
    mine.start()
    other.start()
    other.append(message(1, "not for you"))
    stolen = mine.credentials()[2]
    calls = {
        "start_conversation": ("room", "mallory", "local", True, "default", None),
        "append_items": ("[]",),
        "load_history": (),
        "end_conversation": ("idle", None, None),
        "write_draft": ("{}",),
        "save_memory": ("saved", "{}"),
        "load_memory": (),
    }
    with connect_as(conversations, "voice_agent") as connection:
        for function, arguments in calls.items():
            values = (other.session_id, 1, stolen, *arguments)
            statement = sql.SQL("SELECT * FROM voice.{}({})").format(
                sql.Identifier(function), sql.SQL(", ").join([sql.Placeholder()] * len(values))
            )
            with pytest.raises(psycopg.Error) as raised:
                connection.execute(statement, values)
            assert raised.value.sqlstate == "VA001"
            assert "not for you" not in str(raised.value)
    assert [row["content"] for row in other.history()] == ["not for you"]


def test_wrong_tokens_are_refused(conversations: ConversationsDatabase) -> None:
    agent = conversations.new_conversation()
    agent.start()
    session_id, attempt, token = agent.credentials()
    wrong = [
        (session_id, 2, token),  # of another attempt
        (session_id, attempt, token.upper()),
        (session_id, attempt, token[:-1]),
        (session_id, attempt, ""),
        (session_id, attempt, None),
        (session_id, None, token),
        (None, attempt, token),
        (session_id, attempt, conversation_write_token(b"another key of at least 32 bytes....", session_id, attempt)),
    ]
    with connect_as(conversations, "voice_agent") as connection:
        for credentials in wrong:
            with pytest.raises(psycopg.Error) as raised:
                connection.execute("SELECT * FROM voice.load_history(%s, %s, %s)", credentials)
            assert raised.value.sqlstate == "VA001", credentials


@pytest.mark.parametrize("key", [b"k" * 32, b"k" * 64, b"k" * 65, b"k" * 200])
def test_the_database_computes_the_operators_tokens(conversations: ConversationsDatabase, key: bytes) -> None:
    database = replace(conversations, key=key)
    database.migrate()
    database.new_conversation(attempt=12).start()


def test_roles_have_no_rights_beyond_login(conversations: ConversationsDatabase) -> None:
    rows = conversations.query(
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, "
        "EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid) AS member "
        "FROM pg_roles r WHERE rolname = ANY(%s) ORDER BY rolname",
        ROLES,
    )
    assert [row.pop("rolname") for row in rows] == ROLES
    assert not any(any(row.values()) for row in rows)


def test_every_function_that_is_granted_pins_its_search_path(conversations: ConversationsDatabase) -> None:
    rows = conversations.query("SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'voice'::regnamespace")
    for row in rows:
        assert row["proconfig"] == ["search_path=pg_catalog, pg_temp"], row["proname"]
