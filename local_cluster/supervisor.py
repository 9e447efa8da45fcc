"""The first process of a node or of the control plane: mounts, sysctls, programs kept running, orphans reaped.

Run in fresh mount and PID namespaces as `python -I supervisor.py SPEC.json`; uses nothing but the standard library and
is never imported. When it dies, the kernel ends every program and undoes every mount, so nothing can be left behind.

The spec: {"hostname": str | null, "mounts": [[mount arguments], ...], "sysctls": {path: value},
"programs": [{"name", "argv", "after": [paths that must exist first], "log"}]}
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

RESTART_SECONDS = 1.0


def main(spec_path: str) -> None:
    """Prepares the namespaces, starts every program and reaps until it is killed."""
    spec = json.loads(Path(spec_path).read_text())
    for arguments in (["--make-rshared", "/"], ["-t", "proc", "proc", "/proc"], *spec["mounts"]):
        subprocess.run(["mount", *arguments], check=True)
    if spec["hostname"]:
        socket.sethostname(spec["hostname"])
    for path, value in spec["sysctls"].items():
        Path(path).write_text(value)
    # Programs are started from threads; only this loop waits, for them and for what they leave behind.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    running: dict[int, dict[str, Any]] = {}
    lock = threading.Lock()
    for program in spec["programs"]:
        threading.Thread(target=_start, args=(program, running, lock, 0.0), daemon=True).start()
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.1)
            continue
        with lock:
            ended = running.pop(pid, None)
        if ended is not None:
            print(f"{ended['name']} ended with {os.waitstatus_to_exitcode(status)}, starting it again", flush=True)
            threading.Thread(target=_start, args=(ended, running, lock, RESTART_SECONDS), daemon=True).start()


def _start(program: dict[str, Any], running: dict[int, dict[str, Any]], lock: threading.Lock, delay: float) -> None:
    time.sleep(delay)
    while not all(Path(path).exists() for path in program["after"]):
        time.sleep(0.05)
    log = os.open(program["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    argv = program["argv"]
    # posix_spawn, not subprocess: the latter would wait for its children by itself.
    with lock:
        pid = os.posix_spawnp(
            argv[0],
            argv,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
            setsigdef=[signal.SIGTERM],
        )
        running[pid] = program
    os.close(log)


if __name__ == "__main__":
    main(sys.argv[1])
