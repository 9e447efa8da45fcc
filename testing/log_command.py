"""The command of docs/logs.md that follows one call."""

import re

from local_cluster.layout import REPOSITORY


def read_log_command() -> str:
    """Returns the command as the page has it: for the namespace `voice`, with the VoiceSession's uid in $SESSION."""
    page = (REPOSITORY / "docs" / "logs.md").read_text()
    (command,) = re.findall(r"^    (kubectl logs .*)$", page, re.MULTILINE)
    return str(command)
