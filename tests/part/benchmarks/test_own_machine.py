"""A program with the CPU share of a machine of its own: it and its children are in one cgroup, which goes with it."""

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.own_machine import on_own_machine
from local_cluster import cgroups


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a cgroup")
def test_a_program_and_its_children_are_in_one_cgroup_that_does_not_stay(tmp_path: Path) -> None:
    name = f"voice-agent-benchmark-{os.getpid()}"

    with on_own_machine("/bin/sh", tmp_path) as program:
        command = [program, "-c", "cat /proc/self/cgroup; exit 7"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        assert cgroups.exists(name)

    assert f"/{name}" in [line.split(":")[2] for line in ran.stdout.splitlines()]
    assert ran.returncode == 7
    assert not cgroups.exists(name)
