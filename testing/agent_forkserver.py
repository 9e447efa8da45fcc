"""Agent processes by fork: one process has imported what every agent imports, and each agent begins as its copy.

The import is 1.3 of the 1.7 seconds of CPU that an agent takes until it is ready, and the tests start hundreds. What
is copied has nothing of a pod yet, and no thread of ours; from `main` on it is the program as it is in a pod.
"""

import asyncio
import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from testing.code_path import PYTHONPATH

# What the program imports at its begin, and before it is ready.
MODULES = (
    "voice_agent.__main__",
    "voice_agent.workshop",
    "voice_agent.pod",
    "voice_agent.server",
    "voice_agent.process.rehearsal",
    "voice_agent.process.watchdog",
)
# Compiled once for all test processes, as in the image; the environment may forbid it beside the sources.
_BYTECODE = Path(tempfile.gettempdir()) / "vac-test-bytecode"
_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG


class ForkedProcess:
    """An agent's process, for the event loop that it was started in: as much of asyncio's as tests need."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """`reader` tells its end."""
        self.pid = pid
        self.returncode: int | None = None
        self._reader = reader
        self._writer = writer
        self._end = asyncio.create_task(self._read_end(), name=f"end-of-agent-{pid}")

    async def wait(self) -> int:
        """Returns its exit code, minus a signal's number, when it has ended."""
        return await asyncio.shield(self._end)

    def send_signal(self, number: signal.Signals) -> None:
        """Sends it a signal, if it has not ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it, if it has not ended."""
        self.send_signal(signal.SIGKILL)

    async def _read_end(self) -> int:
        # Without a word the server has ended, and all agents with it.
        self.returncode = int(await self._reader.readline() or -signal.SIGKILL)
        self._writer.close()
        return self.returncode


async def fork_agent(variables: Mapping[str, str], log: Path, folder: Path | str) -> ForkedProcess:
    """Starts an agent in a folder, with these variables; it writes to `log`, and ends with us.

    It ends, too, when its start is cancelled. Call it from the main thread: all agents end with the thread that
    started the first one.
    """
    # uvloop takes no address that has no file, but a socket that has it.
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(_start_server())
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    writer.write(_write_order(variables, log, folder))
    try:
        return ForkedProcess(int(await reader.readline()), reader, writer)
    except BaseException:
        writer.close()
        raise


def _write_order(variables: Mapping[str, str], log: Path, folder: Path | str) -> bytes:
    """Returns what the server is sent; its log is there from then on."""
    log.write_bytes(b"")
    return json.dumps({"variables": dict(variables), "log": str(log), "folder": str(folder)}).encode() + b"\n"


@cache
def _start_server() -> str:
    """Starts this process's own server; returns its address, which has no file."""
    address = f"\0vac-agent-forkserver-{os.getpid()}"
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "PYTHONPATH": PYTHONPATH,
        "PYTHONPYCACHEPREFIX": str(_BYTECODE),
        "PYTHONUNBUFFERED": "1",
    }
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        fd = listener.fileno()
        command = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "testing.agent_forkserver", str(fd)]
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[fd])
    atexit.register(server.kill)
    return address


class Server:
    """Makes an agent of each order, and tells of its end. Has no thread: what is copied is whole."""

    def __init__(self, listener: socket.socket) -> None:
        """Imports what agents import."""
        before = set(os.environ)
        for module in MODULES:
            importlib.import_module(module)
        # The program has set them when it is imported.
        self._own_variables = {name: value for name, value in os.environ.items() if name not in before}
        self._inherited = {name: value for name, value in os.environ.items() if name in before}
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        gc.collect()
        gc.freeze()

    def serve(self) -> bool:
        """Returns in each agent that it has made; never in the server."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    if self._take_order():
                        return True
                elif not isinstance(key.fileobj, socket.socket):
                    self._tell_end(key)
                elif key.fileobj.fileno() >= 0:
                    # Whoever has started it is gone.
                    self._selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)

    def _take_order(self) -> bool:
        connection, _ = self._listener.accept()
        with connection.makefile("rb") as lines:
            line = lines.readline()
        if not line:
            connection.close()  # thought better of
            return False
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            connection.close()
            self._become(server, **json.loads(line))
            return True
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
        self._selector.register(connection, selectors.EVENT_READ, pid)
        self._tell(connection, pid)
        return False

    def _tell_end(self, key: selectors.SelectorKey) -> None:
        pid, connection = key.data
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(key.fileobj)
        os.close(key.fd)
        if connection.fileno() in self._selector.get_map():
            self._selector.unregister(connection)
            self._tell(connection, os.waitstatus_to_exitcode(status))
        connection.close()

    @staticmethod
    def _tell(connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):  # its end is read next
            connection.sendall(b"%d\n" % number)

    def _become(self, server: int, variables: dict[str, str], log: str, folder: str) -> None:
        """Leaves nothing of the server in a new process."""
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != server:
            os._exit(1)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
            else:
                os.close(key.fd)
        self._selector.close()
        output = os.open(log, os.O_WRONLY)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.chdir(folder)
        more = [each for each in variables.get("PYTHONPATH", "").split(os.pathsep) if each and each not in sys.path]
        sys.path[:1] = [folder, *more]
        sys.argv = ["voice_agent"]
        os.environ.clear()
        os.environ.update({**self._inherited, **self._own_variables, **variables})


def main(arguments: list[str]) -> None:
    """Serves at a listening socket, by its number."""
    if Server(socket.socket(fileno=int(arguments[0]))).serve():
        from voice_agent.__main__ import main as be_an_agent

        be_an_agent()


if __name__ == "__main__":
    main(sys.argv[1:])
