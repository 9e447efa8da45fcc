"""`python -m conversations migrate`: brings the database up to date."""

import logging
import sys

from pydantic import ValidationError

from conversations.migrate import MigrationError, run_migrations
from conversations.settings import MigrationSettings
from conversations.write_key import ConversationKeyError

logger = logging.getLogger("conversations")


def main(arguments: list[str]) -> int:
    """Runs the command; returns the process's exit code."""
    if arguments != ["migrate"]:
        sys.stderr.write("usage: python -m conversations migrate\n")
        return 2
    try:
        settings = MigrationSettings()  # pyright: ignore[reportCallIssue] - from the environment
    except ValidationError as error:
        sys.stderr.write(f"The environment is not complete; see docs/reference/environment.md.\n{error}\n")
        return 2
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        run_migrations(settings)
    except (MigrationError, ConversationKeyError) as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says it all
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
