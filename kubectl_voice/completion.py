"""What kubectl asks when somebody presses TAB: `kubectl_complete-voice WORD... PART` prints what may come next.

The protocol is cobra's, which kubectl speaks with its plugins since 1.26: a line for each candidate, then a line with a
colon and a number. Typer's own, by which it is asked here, is bash's variables.
"""

import contextlib
import os
import shlex
import sys

from kubectl_voice.__main__ import app

_NO_FILES = 4


def main() -> None:
    """Prints the candidates for the last of the words."""
    words = sys.argv[1:] or [""]
    os.environ |= {
        "_KUBECTL_VOICE_COMPLETE": "complete_bash",
        "COMP_WORDS": shlex.join(["kubectl-voice", *words]),
        "COMP_CWORD": str(len(words)),
    }
    with contextlib.suppress(SystemExit):
        app([], prog_name="kubectl-voice")
    sys.stdout.write(f"\n:{_NO_FILES}\n")
