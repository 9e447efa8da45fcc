"""The local models as a process of their own on loopback, for tests that need a real OpenAI-compatible server."""

import contextlib
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from local_cluster.ports import LOOPBACK, free_port
from testing.waiting import until_started

_READY_WITHIN_SECONDS = 90


@contextlib.contextmanager
def running_local_models(log: Path, **environment: str) -> Iterator[str]:
    """Runs `python -m local_models` and yields "http://127.0.0.1:PORT" once it is ready.

    `log`: the file that gets its output. `environment`: variables without their LOCAL_MODELS_ prefix;
    SERVICES="chat" starts in a second, speech takes some three.
    """
    port = free_port()
    variables = {"LISTEN_HOST": LOOPBACK, "LISTEN_PORT": str(port)} | environment
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local_models"],
            env=os.environ | {f"LOCAL_MODELS_{name}": value for name, value in variables.items()},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://{LOOPBACK}:{port}"
        until_started(process, lambda: _is_ready(address), log, _READY_WITHIN_SECONDS)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def _is_ready(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/readyz", timeout=5):
        return True
    return False
