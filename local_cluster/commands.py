"""Runs other programs, ends them with all that they started, and turns their failure into a sentence."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from local_cluster.errors import ClusterError, StoppedError

_GRACE_SECONDS = 5.0


class _Children:
    """The programs that run now, each the head of a process group of its own: so that all of a group can be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopping = False

    def check(self) -> None:
        if self._stopping:
            raise StoppedError("stopped")

    def start(
        self, command: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None, *, fed: bool
    ) -> subprocess.Popen[str]:
        with self._lock:
            self.check()
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if fed else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=env,
                cwd=cwd,
                process_group=0,
            )
            self._running.add(child)
        return child

    def forget(self, child: subprocess.Popen[str]) -> None:
        with self._lock:
            self._running.discard(child)

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
            running = list(self._running)
        end_groups(running)

    def resume(self) -> None:
        with self._lock:
            self._stopping = False


_CHILDREN = _Children()


def stop_all() -> None:
    """Ends every program that runs, in whichever thread; from now on none starts and StoppedError is raised instead."""
    _CHILDREN.stop()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Bounds what `stop_all` stops: after the block, programs start again."""
    try:
        yield
    finally:
        _CHILDREN.resume()


def check_stopped() -> None:
    """Raises StoppedError after `stop_all`: for whoever waits for something else than a program."""
    _CHILDREN.check()


def end_groups(children: Sequence[subprocess.Popen[str]]) -> None:
    """Ends programs and what they started: asks first, and kills after some seconds, or at another Ctrl-C."""
    try:
        _signal_groups(children, signal.SIGTERM)
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE_SECONDS)
    finally:
        _signal_groups(children, signal.SIGKILL)


def _signal_groups(children: Sequence[subprocess.Popen[str]], number: signal.Signals) -> None:
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)


def run(
    *argv: str | Path,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
) -> str:
    """Runs a program to its end and returns what it printed.

    Raises ClusterError with the program's own last words when it fails, is missing or takes longer than `timeout` s;
    StoppedError when `stop_all` ended it. Whatever else ends the wait (Ctrl-C) ends the program, too.
    """
    command = [str(part) for part in argv]
    try:
        code, output, errors = _run(command, stdin=stdin, env=env, cwd=cwd, timeout=timeout)
    except FileNotFoundError as error:
        raise ClusterError(f"`{command[0]}` is not installed. Run `make setup`.") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(command)}` was still running after {timeout:.0f} s.") from error
    if code != 0:
        check_stopped()
        raise ClusterError(f"`{' '.join(command)}` failed:\n{last_lines(errors or output)}")
    return output


def succeeds(*argv: str | Path) -> bool:
    """Whether a program ends with 0; False also when it is missing or takes longer than 30 s."""
    try:
        code, _, _ = _run([str(part) for part in argv], timeout=30)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    check_stopped()
    return code == 0


def last_lines(text: str, count: int = 15) -> str:
    """The end of a program's output, which is where the reason stands."""
    return "\n".join(text.strip().splitlines()[-count:])


def _run(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float,
) -> tuple[int, str, str]:
    child = _CHILDREN.start(command, env, cwd, fed=stdin is not None)
    try:
        output, errors = child.communicate(stdin, timeout)
    except BaseException:
        end_groups([child])
        raise
    finally:
        _CHILDREN.forget(child)
    return child.returncode, output, errors
