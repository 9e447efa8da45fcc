"""The roles that services log in as: made by the owner, or by a database administrator and then only looked at."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from psycopg import Connection, sql
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import dict_row
from sqlalchemy import URL
from sqlalchemy.exc import OperationalError

from conversations.connecting import build_engine, reason_of
from conversations.refusal import MigrationError

# Each with the key of its password in the Secret `database-roles`.
AGENT = "voice_agent"
ROLES = {AGENT: "agent-password", "voice_reader": "reader-password", "voice_closer": "closer-password"}
# The call's page has it, which most installations have not.
VIEWER = "voice_viewer"
PASSWORD_KEYS = {**ROLES, VIEWER: "viewer-password"}
VIEWER_FUNCTIONS = ("list_conversations", "find_conversation", "read_transcript")

# What a role begins with, below PgBouncer's query_timeout. A client may say otherwise: that one it cannot change.
LIMITS = {"statement_timeout": "8s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "8s"}

RIGHTS = ("rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls")
NO_RIGHTS = "NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS"

SCRIPT_HEAD = """\
-- The roles of the voice agents' services. Run it once on the Postgres server, as a role that may create roles, with
-- the passwords of the Secret `database-roles`, twice database.maxConnections, and the database's owner; again changes
-- nothing but these:
--   psql -f FILE{variables}
-- and where tokenService.callsPage is enabled -v {viewer}=...
\\set ON_ERROR_STOP on
BEGIN;"""


def ensure_roles(connection: Connection, passwords: Mapping[str, str], agent_connections: int) -> None:
    """Makes the roles that there are not, and gives each its password and its limits.

    `agent_connections`: how many voice_agent may have; -1: as many as the server has.

    Raises:
        MigrationError: the owner may not.
    """
    try:
        _ensure_roles(connection, passwords)
        connection.execute(_limit(sql.Literal(agent_connections)))
        # So that the owner's function may end its statements.
        if connection.execute("SELECT WHERE NOT pg_has_role(%s, 'USAGE')", (AGENT,)).fetchone() is not None:
            connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(AGENT)))
    except InsufficientPrivilege as error:
        user = connection.info.user
        raise MigrationError(
            f'"{user}" may not make or change the roles {", ".join(passwords)} ({error.diag.message_primary}): have '
            "a database administrator run what `python -m conversations sql` prints, and set "
            f'database.roles.create=false; or run ALTER ROLE "{user}" CREATEROLE'
        ) from error


def _ensure_roles(connection: Connection, passwords: Mapping[str, str]) -> None:
    for role, password in passwords.items():
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
            connection.execute(_create(role))
        # Hashed here: a password in a statement could end in the server's log.
        hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        for statement in _alter(role, sql.Literal(hashed)):
            connection.execute(statement)


def allow_viewing(connection: Connection, is_wanted: bool) -> None:
    """Lets voice_viewer find and read conversations of this database, or, where it is not wanted, do nothing at all."""
    viewer = sql.Identifier(VIEWER)
    if is_wanted:
        database = sql.Identifier(connection.info.dbname)
        functions = sql.SQL(", ").join(sql.Identifier("voice", name) for name in VIEWER_FUNCTIONS)
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, viewer))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA voice TO {}").format(viewer))
        connection.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(functions, viewer))
    elif connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (VIEWER,)).fetchone() is not None:
        connection.execute(sql.SQL("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA voice FROM {}").format(viewer))
        connection.execute(sql.SQL("REVOKE USAGE ON SCHEMA voice FROM {}").format(viewer))


def check_roles(connection: Connection, roles: Collection[str]) -> None:
    """Looks at these roles, which somebody else has made.

    Raises:
        MigrationError: with all that they lack, and have too much.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "SELECT *, EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid) AS member, "
            "current_user AS owner, pg_has_role(r.oid, 'USAGE') AS owned "
            "FROM pg_roles r WHERE rolname = ANY(%s)",
            (list(roles),),
        ).fetchall()
    found = {row["rolname"]: row for row in rows}
    wrong = [lack for role in roles for lack in find_lacks(role, found.get(role))]
    if wrong:
        raise MigrationError(
            f"{'; '.join(wrong)}. Have a database administrator run that, or all that `python -m conversations sql` "
            "prints; or set database.roles.create=true with an owner who may create roles"
        )


def find_lacks(role: str, row: Mapping[str, Any] | None) -> Iterator[str]:
    """Yields what a role lacks or has too much, each with the statement that mends it. `row`: of pg_roles."""
    if row is None:
        yield f"there is no role {role}"
        return
    if not row["rolcanlogin"]:
        yield f"{role} may not log in: ALTER ROLE {role} LOGIN"
    if any(row[right] for right in RIGHTS):
        yield f"{role} may do more than log in: ALTER ROLE {role} {NO_RIGHTS}"
    if row["member"]:
        yield f"{role} has the rights of other roles: REVOKE those from {role}"
    if role == AGENT and row["rolconnlimit"] < 0:
        yield f"{role} may take all connections of the server: ALTER ROLE {role} CONNECTION LIMIT 60"
    if role == AGENT and not row["owned"]:
        yield f'the owner may not end the statements of {role}: GRANT {role} TO "{row["owner"]}"'
    configured = {setting.partition("=")[0] for setting in row["rolconfig"] or ()}
    for setting, value in LIMITS.items():
        if setting not in configured:
            yield f"{role} has no {setting}: ALTER ROLE {role} SET {setting} = '{value}'"


def check_passwords(url: URL, passwords: Mapping[str, str]) -> None:
    """Logs in as each role, to see that it has the password that the services use. `url`: the database, as its owner.

    Raises:
        MigrationError: one has another.
    """
    for role, password in passwords.items():
        engine = build_engine(url.set(username=role, password=password))
        try:
            engine.connect().close()
        except OperationalError as error:
            raise MigrationError(
                f"{role} cannot log in with {PASSWORD_KEYS[role]} of the Secret `database-roles`: give it that "
                f"password, by what `python -m conversations sql` prints. Postgres says: {reason_of(error)}"
            ) from error
        finally:
            engine.dispose()


def build_script() -> str:
    """Returns what a database administrator runs by psql, with the passwords as its variables."""
    variables = {role: f"{role}_password" for role in PASSWORD_KEYS}
    names = [*(variables[role] for role in ROLES), f"{AGENT}_connections", "owner"]
    told = "".join(f" -v {name}=..." for name in names)
    lines = [SCRIPT_HEAD.format(variables=told, viewer=variables[VIEWER])]
    for role in ROLES:
        lines += _script_of(role, variables[role])
    lines += [f"\\if :{{?{variables[VIEWER]}}}", *_script_of(VIEWER, variables[VIEWER]), "\\endif"]
    limit = _limit(sql.SQL(f":{AGENT}_connections"))
    grant = sql.SQL('GRANT {} TO :"owner"').format(sql.Identifier(AGENT))
    return "\n".join([*lines, f"{limit.as_string()};", f"{grant.as_string()};", "COMMIT;"])


def _script_of(role: str, variable: str) -> Iterator[str]:
    """Yields what makes a role where there is none, and gives it the password in a variable of psql's."""
    exists = sql.SQL("SELECT FROM pg_roles WHERE rolname = {}").format(role)
    yield sql.SQL("SELECT {} WHERE NOT EXISTS ({}) \\gexec").format(_create(role).as_string(), exists).as_string()
    for statement in _alter(role, sql.SQL(f":'{variable}'")):
        yield f"{statement.as_string()};"


def _create(role: str) -> sql.Composed:
    return sql.SQL("CREATE ROLE {} NOINHERIT").format(sql.Identifier(role))


def _limit(connections: sql.Composable) -> sql.Composed:
    # A statement that PgBouncer has given up goes on in Postgres, uncounted by PgBouncer.
    return sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(sql.Identifier(AGENT), connections)


def _alter(role: str, password: sql.Composable) -> Iterator[sql.Composed]:
    name = sql.Identifier(role)
    yield sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, password)
    for setting, value in LIMITS.items():
        yield sql.SQL("ALTER ROLE {} SET {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
