"""Lets a program have the share of the CPUs that it would have if it did not run on the cluster's machine.

A node of the local cluster is a cgroup. Among processes that are in none, it weighs as much as a single one of their
threads; so Chromium with its dozens would take the CPUs from every pod, as no customer's browser can.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from local_cluster import cgroups

_LAUNCHER = """#!/bin/sh
echo $$ > '{processes}'
exec '{program}' "$@"
"""


@contextlib.contextmanager
def on_own_machine(program: str, folder: Path) -> Iterator[str]:
    """Yields a command that is `program` in a cgroup which weighs as much as a node: a script in `folder`.

    Only root may make one; for others it is the program itself, and a line says so.

    Raises:
        local_cluster.errors.ClusterError: this machine's cgroups cannot do it.
    """
    if os.geteuid() != 0:
        print("  Not root: the customer's browser shares the CPUs with the cluster thread by thread.", flush=True)
        yield program
        return
    name = f"voice-agent-benchmark-{os.getpid()}"
    processes = cgroups.create_cpu_share(name)
    try:
        launcher = folder / "launch"
        launcher.write_text(_LAUNCHER.format(processes=processes, program=program))
        launcher.chmod(0o755)
        yield str(launcher)
    finally:
        cgroups.remove(name)
