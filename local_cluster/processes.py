"""Starts supervisors in namespaces of their own, and finds and ends them again by what they run."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from local_cluster.errors import ClusterError
from local_cluster.layout import PACKAGE, STATE

SUPERVISOR = PACKAGE / "supervisor.py"
END_SECONDS = 30.0


@dataclass(frozen=True)
class ProgramSpec:
    """One program that a supervisor keeps running; `after` are paths that must exist before it starts."""

    name: str
    argv: list[str]
    log: str
    after: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SupervisorSpec:
    """What supervisor.py reads: see there."""

    programs: list[ProgramSpec]
    mounts: list[list[str]] = field(default_factory=list)
    sysctls: dict[str, str] = field(default_factory=dict)
    hostname: str | None = None


def spec_path(name: str) -> Path:
    """Where the spec of the supervisor `name` lies; the path is also how its processes are known."""
    return STATE / name / "spec.json"


def write_spec(name: str, spec: SupervisorSpec) -> None:
    """Writes down what the supervisor `name` shall do, for when it is started."""
    path = spec_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(spec), indent=1))


def start(name: str, *, network_namespace: str | None = None) -> None:
    """Starts a supervisor, as its spec says, detached from us in new mount, PID, UTS and IPC namespaces."""
    path = spec_path(name)
    enter: list[str] = []
    if network_namespace is not None:
        # Not `ip netns exec`: that mounts a new /sys, without the cgroups.
        enter = ["nsenter", f"--net=/run/netns/{network_namespace}"]
    isolate = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private"]
    command = [*enter, *isolate, sys.executable, "-I", str(SUPERVISOR), str(path)]
    with (path.parent / "supervisor.log").open("ab") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True)


def find(name: str) -> list[int]:
    """The process ids of the supervisor `name`: it and the helper that made its namespaces, oldest first."""
    wanted = str(spec_path(name)).encode()
    return sorted(pid for pid, argv in _all_arguments() if wanted in argv)


def find_first_process(name: str) -> int | None:
    """The process id, as the host sees it, of the supervisor itself: the way into its namespaces."""
    pids = [pid for pid in find(name) if Path(f"/proc/{pid}/ns/pid").readlink() != Path("/proc/self/ns/pid").readlink()]
    return pids[0] if pids else None


def running_names() -> set[str]:
    """The names of all supervisors of this machine's cluster."""
    prefix = f"{STATE}/".encode()
    return {
        Path(part.decode()).parent.name
        for _, argv in _all_arguments()
        for part in argv
        if part.startswith(prefix) and part.endswith(b"/spec.json")
    }


def end(name: str) -> None:
    """Kills a supervisor, and with it everything in its namespaces; returns when all of it is gone."""
    deadline = time.monotonic() + END_SECONDS
    while pids := find(name):
        for pid in pids:
            _kill(pid)
        if time.monotonic() > deadline:
            raise ClusterError(f"Processes {pids} of {name} do not end. See `ps -fp {pids[0]}`; a reboot ends them.")
        time.sleep(0.05)


def end_program(name: str, program: str) -> None:
    """Ends one program of a supervisor, which then starts it again; nothing when it does not run."""
    supervisor = find_first_process(name)
    if supervisor is None:
        return
    for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        if Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0].endswith(f"/{program}".encode()):
            _kill(int(child))


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended by itself meanwhile


def _all_arguments() -> list[tuple[int, list[bytes]]]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                found.append((int(folder.name), (folder / "cmdline").read_bytes().split(b"\0")))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return [(pid, argv) for pid, argv in found if str(SUPERVISOR.name).encode() in b" ".join(argv)]
