"""How the process ends: what it leaves behind for Kubernetes, and never by way of the interpreter's own exit."""

import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

from voice_agent.text import clean_text
from voice_telemetry.logs import hide_secrets
from voicesession.assignment import TerminationMessage

CODE_IMPORT_FAILED = "CodeImportFailed"
PROTOCOL_UNKNOWN = "ProtocolUnknown"
# No end of a call: another agent carries it on.
HANG = "hang"
# What Kubernetes keeps of the file.
_LARGEST_BYTES = 4096
_LONGEST_MESSAGE = 1000

log = logging.getLogger(__name__)


def write_termination_message(file: Path, reason: str, message: str = "", *, end_written: bool = False) -> None:
    """Leaves why the pod ended where the kubelet looks for it; `end_written` as in `TerminationMessage`."""
    message = hide_secrets(clean_text(message))[:_LONGEST_MESSAGE]
    left = TerminationMessage(reason=reason, message=message, end_written=end_written)
    text = left.model_dump_json(by_alias=True)
    try:
        file.write_bytes(text.encode()[:_LARGEST_BYTES])
    except OSError:
        log.exception("the termination message could not be written", extra={"file": file})


def leave(code: int) -> NoReturn:
    """Ends the process now: the interpreter's exit can abort in the native library. Says nothing to LiveKit."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
