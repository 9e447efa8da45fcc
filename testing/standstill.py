"""Stops the main thread of a process and no other, as code does that blocks: `python -m testing.standstill PID`.

It prints "stopped" and holds the thread until the process has ended. It needs root's right to trace, and Linux on a
64-bit machine.
"""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

from testing.code_path import PYTHONPATH

_ATTACH, _DETACH = 16, 17
_WALL = 0x40000000
_TRIES = 200


def stand_still(pid: int) -> "subprocess.Popen[str]":
    """Has a process' main thread stand still from now on; whoever ends the returned program lets it go on.

    Raises:
        OSError: it could not be stopped, or is gone.
    """
    command = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "testing.standstill", str(pid)]
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert program.stdout is not None
    if program.stdout.readline() != "stopped\n":
        raise OSError(f"process {pid} cannot be stopped")
    return program


def stop(pid: int) -> None:
    """Stops the main thread where it waits in the kernel: where it runs it may hold what its other threads need.

    Raises:
        OSError: the process may not be traced, or is gone.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for _ in range(_TRIES):
        if libc.ptrace(_ATTACH, pid, None, None) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        os.waitpid(pid, _WALL)
        if _waits(pid):
            return
        libc.ptrace(_DETACH, pid, None, None)
        time.sleep(0.005)  # noqa: TID251 - in a program of its own
    raise TimeoutError(f"the main thread of {pid} never waits")


def _waits(pid: int) -> bool:
    """Tells whether a stopped thread is in a call of the system's, where Python's lock is free."""
    number = Path(f"/proc/{pid}/task/{pid}/syscall").read_text().split()[0]
    return number.isdigit()


def main() -> None:
    """Stops it; ends when it has ended."""
    pid = int(sys.argv[1])
    stop(pid)
    sys.stdout.write("stopped\n")
    sys.stdout.flush()
    while True:
        _, status = os.waitpid(pid, _WALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return


if __name__ == "__main__":
    main()
