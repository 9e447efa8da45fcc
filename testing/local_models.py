"""The local models as a process of their own on loopback, for tests that need a real OpenAI-compatible server."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

_READY_WITHIN_SECONDS = 90


@contextlib.contextmanager
def running_local_models(log: Path, **environment: str) -> Iterator[str]:
    """Runs `python -m local_models` and yields "http://127.0.0.1:PORT" once it is ready.

    `log`: the file that gets its output. `environment`: variables without their LOCAL_MODELS_ prefix;
    SERVICES="chat" starts in a second, speech takes some three.

    Raises:
        RuntimeError: it ended, or was not ready in time; with the end of its log.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {"LISTEN_HOST": "127.0.0.1", "LISTEN_PORT": str(port)} | environment
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local_models"],
            env=os.environ | {f"LOCAL_MODELS_{name}": value for name, value in variables.items()},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, address, log)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_ready(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/readyz", timeout=5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the local models are not ready:\n{log.read_text()[-2000:]}")
