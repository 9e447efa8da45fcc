"""What is told of a connection that cannot be made: what waiting does not mend is said at once, with what to do."""

import pytest
from sqlalchemy import make_url

from conversations.connecting import advise, build_engine
from conversations.refusal import MigrationError

URL = make_url("postgresql://app@db.example.com:5432/voice")
TO = 'connection to server at "db.example.com" (192.0.2.1), port 5432 failed: '


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (f'{TO}FATAL: password authentication failed for user "app"', 'the password is not that of "app"'),
        (f"{TO}fe_sendauth: no password supplied", "postgres.external.passwordSecret"),
        (f'{TO}FATAL: database "voice" does not exist', 'CREATE DATABASE "voice" OWNER "app"'),
        (f'{TO}FATAL: role "app" does not exist', "postgres.external.user"),
        (f'{TO}FATAL: role "app" is not permitted to log in', '"app" may not log in'),
        (f'{TO}FATAL: permission denied for database "voice"', 'ALTER DATABASE "voice" OWNER TO "app"'),
        (f'{TO}FATAL: no pg_hba.conf entry for host "192.0.2.7", user "app", no encryption', "pg_hba.conf"),
        (f"{TO}server does not support SSL, but SSL was required", "postgres.external.sslmode=disable"),
        (f"{TO}SSL error: certificate verify failed", "postgres.external.caSecret"),
        (f"{TO}SSL error: provider signature failure", "postgres.external.caSecret"),
        ('connection failed: root certificate file "/etc/ca.crt" does not exist', "postgres.external.caSecret"),
        (f'{TO}server certificate for "db" does not match host name "db.example.com"', "postgres.external.host"),
        # Two addresses, of which one says it.
        (f'{TO}Connection refused {TO}FATAL: database "voice" does not exist', "database.name"),
    ],
)
def test_what_waiting_does_not_mend(reason: str, advice: str) -> None:
    assert advice in (advise(reason, URL) or "")


@pytest.mark.parametrize(
    "reason",
    [
        f"{TO}Connection refused Is the server running on that host and accepting TCP/IP connections?",
        "[Errno -2] Name or service not known",
        "failed to resolve host 'db.example.com': [Errno -3] Temporary failure in name resolution",
        "connection timeout expired",
        f"{TO}FATAL: the database system is starting up",
        f"{TO}FATAL: the database system is shutting down",
        f"{TO}FATAL: sorry, too many clients already",
        f"{TO}SSL error: unexpected eof while reading",
        f"{TO}server closed the connection unexpectedly",
    ],
)
def test_what_may_pass(reason: str) -> None:
    assert advise(reason, URL) is None


@pytest.mark.parametrize("url", ["postgresql://app:secret@db:5432:5432/voice", "db.example.com", ""])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(MigrationError, match="the port is a number") as raised:
        build_engine(url)
    assert "secret" not in str(raised.value)
