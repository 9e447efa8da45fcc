"""`python -m conversations migrate`: brings the database up to date."""

import logging
import sys

from conversations.migrate import MigrationError, run_migrations
from conversations.settings import MigrationSettings
from voice_telemetry.start import start
from voicesession.key_files import KeyFileError

log = logging.getLogger("conversations")


def main(arguments: list[str]) -> int:
    """Runs the command; returns the process's exit code."""
    if arguments != ["migrate"]:
        sys.stderr.write("usage: python -m conversations migrate\n")
        return 2
    settings = start("conversations", MigrationSettings)
    try:
        run_migrations(settings)
    except (MigrationError, KeyFileError):
        log.exception("the database is not migrated")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
