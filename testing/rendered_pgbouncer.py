"""A PgBouncer with the configuration that the chart renders, before a server of a test's."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testing.chart import Raw, find
from testing.conversations import PASSWORDS
from testing.postgres import PgBouncerProcess, PostgresServer

# Which of the ConfigMap's texts is each process's configuration.
CONFIGURATIONS = {"agents": "pgbouncer.ini", "services": "services.ini"}
STATS_PASSWORD = "stats-password"


@contextmanager
def rendered_pgbouncer(
    server: PostgresServer, objects: list[Raw], process: str = "agents", *, ca: Path | None = None, **changed: int
) -> Iterator[PgBouncerProcess]:
    """Runs one of the two processes, `agents` or `services`. `changed`: settings that a test has otherwise.

    The chart has rendered `objects` for `server` as an external Postgres; `ca` is the authority where it has one.
    """
    bouncer = PgBouncerProcess(server, {}, {**PASSWORDS, "voice_stats": STATS_PASSWORD})
    try:
        texts = find(objects, "ConfigMap", "pgbouncer")["data"]
        (bouncer.folder / "services.hba").write_text(texts["services.hba"] + "\n")
        if ca is not None:
            shutil.copy(ca, bouncer.folder / "ca.crt")
        text = texts[CONFIGURATIONS[process]].replace("/etc/pgbouncer/", f"{bouncer.folder}/")
        for name, value in {"listen_port": bouncer.port, **changed}.items():
            text, found = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
            assert found == 1, name
        (bouncer.folder / "pgbouncer.ini").write_text(text)
        bouncer.start()
        bouncer.until_started()
        yield bouncer
    finally:
        bouncer.stop()
