"""A real Postgres for tests, with a PgBouncer before it where wanted: temporary, on loopback, gone afterwards."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from local_cluster.ports import LOOPBACK, free_port, listens
from testing.waiting import eventually_sync, until_started

OWNER = "voice_owner"
PASSWORD = "owner-password"
READY_SECONDS = 30.0
# As the server refuses to run as root.
SYSTEM_USER = "postgres"


def binaries() -> Path:
    """Returns the folder of Debian's newest Postgres."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    assert found, "Postgres is not installed; run `make setup`"
    return found[-1]


def run_as_server(*command: str) -> list[str]:
    """Returns the command as the server's user, ended with this process."""
    leash = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        leash += ["--reuid", SYSTEM_USER, "--regid", SYSTEM_USER, "--clear-groups"]
    return [*leash, "--", *command]


def make_folder(prefix: str) -> Path:
    """Returns a new folder that the server's user owns; in memory where there is such a place."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=memory))
    if os.geteuid() == 0:
        shutil.chown(folder, SYSTEM_USER, SYSTEM_USER)
    return folder


@contextmanager
def paused(pids: Sequence[int]) -> Iterator[None]:
    """Stops these processes meanwhile, which is worse than ending them: whoever is connected waits.

    One that has ended by itself, before or meanwhile, is passed over.
    """
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@dataclass
class PostgresServer:
    """A running Postgres. Its owner is no superuser: it may make roles, as one gets it from a cloud."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    def url(self, database: str, user: str = OWNER, password: str = PASSWORD) -> str:
        """Returns the URL of a database for one user."""
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self.port}/{database}"

    def superuser_url(self, database: str = "postgres") -> str:
        """Returns the URL for the superuser, over the socket."""
        return f"postgresql://postgres@/{database}?host={self.folder}&port={self.port}"

    def create_database(self) -> str:
        """Makes an empty database of the owner's; returns its name."""
        name = f"voice_{secrets.token_hex(6)}"
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(OWNER))
            )
        return name

    def start(self) -> None:
        """Starts the server on the data it has, and waits until it answers.

        Call it from the main thread: the server ends with the thread that started it.
        """
        command = [str(binaries() / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        settings = {"fsync": "off", "listen_addresses": LOOPBACK, "unix_socket_directories": str(self.folder)}
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(run_as_server(*command), stdout=log, stderr=log, process_group=0)
        until_started(self.process, self._answers, self.folder / "log", READY_SECONDS)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.superuser_url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stops all of its processes meanwhile, which is worse than ending them: whoever is connected waits."""
        assert self.process is not None
        with paused([self.process.pid, *_children_of(self.process.pid)]):
            yield

    def stop(self) -> None:
        """Ends the server at once; its data stays, and `start` brings it back."""
        if self.process is not None:
            children = _children_of(self.process.pid)
            self.process.kill()
            self.process.wait()
            self.process = None
            # They hold the shared memory, which the next server refuses to take while they live.
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            eventually_sync(lambda: not any(map(_lives, children)), READY_SECONDS, "the server's processes are gone")
            (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)


def _children_of(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Makes and starts a Postgres (about 3 s); ends it and deletes it afterwards."""
    folder = make_folder("vac-postgres-")
    server = PostgresServer(folder, free_port())
    try:
        subprocess.run(
            run_as_server(
                *(str(binaries() / "initdb"), "--pgdata", str(folder / "data"), "--username", "postgres"),
                *(
                    "--auth-local=trust",
                    "--auth-host=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    "--no-sync",
                ),
            ),
            check=True,
            capture_output=True,
            timeout=60,
        )
        server.start()
        with psycopg.connect(server.superuser_url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD {}").format(sql.Identifier(OWNER), PASSWORD)
            )
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class PgBouncerProcess:
    """A PgBouncer before a server, which may be started again at the same port."""

    def __init__(
        self, server: PostgresServer, settings: Mapping[str, str], users: Mapping[str, str], port: int | None = None
    ) -> None:
        """Starts nothing yet. `port`: of loopback, a free one where none is given. `users`: passwords."""
        self.port = port or free_port()
        self.folder = make_folder("vac-pgbouncer-")
        self.process: subprocess.Popen[bytes] | None = None
        lines = [
            "[databases]",
            f"* = host={LOOPBACK} port={server.port}",
            "[pgbouncer]",
            f"listen_addr = {LOOPBACK}",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = scram-sha-256",
            f"auth_file = {self.folder}/userlist.txt",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        (self.folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        (self.folder / "userlist.txt").write_text(
            "".join(f'"{user}" "{password}"\n' for user, password in users.items())
        )

    @property
    def has_ended(self) -> bool:
        """Tells whether it has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def start(self) -> None:
        """Starts it; it listens within moments. Call it from the main thread, as with Postgres."""
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        with (self.folder / "log").open("ab") as log:
            command = run_as_server(program, str(self.folder / "pgbouncer.ini"))
            self.process = subprocess.Popen(command, stdout=log, stderr=log, process_group=0)

    def until_started(self) -> None:
        """Waits until it listens."""
        assert self.process is not None
        until_started(self.process, lambda: listens(self.port), self.folder / "log", READY_SECONDS)

    def stop(self) -> None:
        """Ends it at once, and removes what it has written."""
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def restartable_pgbouncer(
    server: PostgresServer, settings: Mapping[str, str], users: Mapping[str, str], port: int | None = None
) -> Iterator[PgBouncerProcess]:
    """Starts a PgBouncer before `server`, on `port` or a free one of loopback; ends it afterwards."""
    bouncer = PgBouncerProcess(server, settings, users, port)
    try:
        bouncer.start()
        bouncer.until_started()
        yield bouncer
    finally:
        bouncer.stop()


@contextmanager
def running_pgbouncer(
    server: PostgresServer, settings: Mapping[str, str], users: Mapping[str, str], port: int | None = None
) -> Iterator[int]:
    """As `restartable_pgbouncer`, for whom the port is enough."""
    with restartable_pgbouncer(server, settings, users, port) as bouncer:
        yield bouncer.port
