"""Runs other programs and turns their failure into a sentence."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from local_cluster.errors import ClusterError


def run(
    *argv: str | Path,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
) -> str:
    """Runs a program to its end and returns what it printed.

    Raises ClusterError with the program's own last words when it fails, is missing or takes longer than `timeout` s.
    """
    command = [str(part) for part in argv]
    try:
        done = subprocess.run(
            command, input=stdin, env=env, cwd=cwd, timeout=timeout, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(f"`{command[0]}` is not installed. Run `make setup`.") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(command)}` was still running after {timeout:.0f} s.") from error
    if done.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed:\n{last_lines(done.stderr or done.stdout)}")
    return done.stdout


def succeeds(*argv: str | Path) -> bool:
    """Whether a program ends with 0; False also when it is missing or takes longer than 30 s."""
    command: Sequence[str] = [str(part) for part in argv]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def last_lines(text: str, count: int = 15) -> str:
    """The end of a program's output, which is where the reason stands."""
    return "\n".join(text.strip().splitlines()[-count:])
