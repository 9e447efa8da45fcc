"""`python -m conversations migrate` brings the database up to date; `… undelivered` tells what it has still to get.

`… sql` prints what a database administrator runs where the owner may create no roles.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from conversations.migrate import run_migrations
from conversations.refusal import MigrationError
from conversations.roles import build_script
from conversations.settings import MigrationSettings, UndeliveredSettings
from conversations.undelivered import Undelivered, UndeliveredPieces
from kube.client import KubernetesApi, KubernetesError, KubernetesUnavailableError
from voice_telemetry.start import start
from voicesession import clock
from voicesession.key_files import KeyFileError

log = logging.getLogger("conversations")


def main(arguments: list[str]) -> int:
    """Runs the command; returns the process's exit code."""
    match arguments:
        case ["migrate"]:
            return migrate()
        case ["undelivered"]:
            return tell_undelivered()
        case ["sql"]:
            sys.stdout.write(f"{build_script()}\n")
            return 0
        case _:
            sys.stderr.write("usage: python -m conversations migrate|sql|undelivered\n")
            return 2


def migrate() -> int:
    """Migrates the database; returns 1 where that cannot be."""
    settings = start("conversations", MigrationSettings, packages=("kube",))
    try:
        run_migrations(settings)
    except (MigrationError, KeyFileError) as error:
        # Without where in the code: helm shows this line to whoever installs.
        log.error("the database is not migrated", extra={"error": error})  # noqa: TRY400
        return 1
    return 0


def tell_undelivered() -> int:
    """Prints what waits for the database; returns 1 where there is something, 2 where nobody can tell."""
    settings = start("conversations", UndeliveredSettings, packages=("kube",))
    try:
        kept = asyncio.run(list_undelivered(settings.namespace))
    except (KubernetesError, KubernetesUnavailableError):
        log.exception("the API server does not tell what is undelivered")
        return 2
    for line in describe(kept, clock.now()):
        sys.stdout.write(f"{line}\n")
    return 1 if kept else 0


async def list_undelivered(namespace: str) -> list[Undelivered]:
    """Returns what is kept in a namespace, the oldest first."""
    kubeconfig = os.environ.get("KUBECONFIG")
    kubernetes = await KubernetesApi.connect(namespace, Path(kubeconfig) if kubeconfig else None)
    try:
        return await UndeliveredPieces(kubernetes).list_all()
    finally:
        await kubernetes.close()


def describe(kept: Sequence[Undelivered], now: datetime) -> Iterator[str]:
    """Yields a table and a sum for people."""
    if not kept:
        yield "Nothing is undelivered."
        return
    yield f"{'SESSION':<38}{'ATTEMPT':<9}{'ROWS':<7}AGE"
    for piece in kept:
        age = max(0, round((now - piece.kept_since).total_seconds()))
        yield f"{piece.session_id:<38}{piece.attempt:<9}{piece.rows:<7}{age} s"
    yield f"{sum(piece.rows for piece in kept)} rows wait for the database."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
