"""A cluster that was taken away left nothing: mounts, cgroups, networks, rules, processes and files are as before.

Tried on a second cluster, by another name and in network and mount namespaces of the test's own, so that it can have
the same addresses as the one that everybody uses.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from local_cluster.layout import REPOSITORY
from testing.waiting import eventually_sync

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
    pytest.mark.timeout(900),
]

NAME = "vac-traces"
_SYSCTLS = (
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_WHERE_NAMED = ("cmdline", "mountinfo", "cgroup")
# Where programs like to leave things.
_FOLDERS = ("/etc", "/run", "/usr/libexec", "/var/lib", "/var/log", "/var/lib/kubelet", "/etc/cni")


class Machine:
    """Namespaces in which a cluster finds a machine without network, and which end with the test."""

    def __init__(self) -> None:
        """Starts the process that holds the namespaces open."""
        # /run/mount is libmount's own folder, there on every machine that has mounted anything since its start.
        prepare = [
            "mount -t tmpfs run /run",
            "mkdir /run/mount",
            "ip link set lo up",
            "echo 0 > /proc/sys/net/ipv4/ip_forward",
            "echo ready",
        ]
        hold = " && ".join([*prepare, "exec sleep infinity"])
        command = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", hold]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Starts a program in there."""
        enter = ["nsenter", f"--target={self._holder.pid}", "--net", "--mount", f"--wd={REPOSITORY}", "--"]
        environment = {**os.environ, "VOICE_AGENT_CLUSTER_NAME": NAME, "PYTHONPATH": str(REPOSITORY)}
        return subprocess.Popen(
            [*enter, *command], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *command: str) -> str:
        """Runs a program in there to its end and returns what it printed; it must succeed."""
        process = self.start(*command)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        return output

    def provider(self, call: str) -> list[str]:
        """The command that calls a method of the provider, without touching this checkout's kubeconfig."""
        return [sys.executable, "-c", f"from local_cluster.netns import NetnsProvider; NetnsProvider().{call}"]

    def end(self) -> None:
        """Takes the cluster away, whatever the test did, and lets the namespaces go."""
        self.run(*self.provider("down()"))
        self._holder.kill()
        self._holder.wait()

    def snapshot(self) -> dict[str, list[str]]:
        """What a cluster could leave behind, on this machine and in the namespaces."""
        cgroups = [str(folder) for folder in Path("/sys/fs/cgroup").glob(f"*/{NAME}*")]
        return {
            "mounts": sorted(" ".join(line.split()[1:3]) for line in self.run("cat", "/proc/mounts").splitlines()),
            "links": self.run("ip", "-brief", "link").splitlines(),
            "routes": sorted(self.run("ip", "route", "show", "table", "all").splitlines()),
            "rules": [line for line in self.run("iptables-save").splitlines() if line.startswith("-A")],
            "namespaces": self.run("ip", "netns", "list").splitlines(),
            "sysctls": [self.run("cat", *(f"/proc/sys/{name}" for name in _SYSCTLS))],
            "files": sorted(
                self.run("find", *(f for f in _FOLDERS if Path(f).is_dir()), "-maxdepth", "1").splitlines()
            ),
            "cgroups": sorted(cgroups),
            "processes": _processes(),
        }


def _processes() -> list[str]:
    """The programs of the test's cluster: started for it, seeing its mounts, or in its cgroups."""
    return [_told(pid, "comm") for pid in _pids() if any(NAME in _told(pid, file) for file in _WHERE_NAMED)]


def _supervisors() -> list[int]:
    return [pid for pid in _pids() if f"/var/lib/{NAME}/" in _told(pid, "cmdline")]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and int(path.name) != os.getpid()]


def _told(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    except (OSError, ValueError):
        return ""  # it has ended meanwhile


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Namespaces for one test."""
    made = Machine()
    yield made
    made.end()


def test_nothing_is_left_after_down(machine: Machine) -> None:
    """Up, used by its own DNS pods, down: all is as before."""
    before = machine.snapshot()
    machine.run(*machine.provider("up(1)"))
    during = machine.snapshot()
    machine.run(*machine.provider("down()"))

    # The comparison sees what it is there for.
    assert set(_changes(before, during)) >= set(before) - {"mounts"}
    assert _changes(before, machine.snapshot()) == {}


@pytest.mark.parametrize("reached", ["pki", "node1/log/kubelet.log"])
def test_nothing_is_left_after_kill_minus_9_half_way(machine: Machine, reached: str) -> None:
    """However far it had come: `up` makes a whole cluster of the ruin, and `down` finds all of it."""
    before = machine.snapshot()
    process = machine.start(*machine.provider("up(1)"))
    eventually_sync((Path("/var/lib") / NAME / reached).exists, 120, f"no {reached}")
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)

    assert "taken away first" in machine.run(*machine.provider("up(1)"))
    # As after the end of a session: files, cgroups and networks are there, and none of the processes.
    for pid in _supervisors():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    machine.run(*machine.provider("down()"))
    assert _changes(before, machine.snapshot()) == {}


def _changes(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, list[str]]:
    """What differs, by kind; + is new, - is gone."""
    changes = {}
    for kind, lines in after.items():
        old, new = Counter(before[kind]), Counter(lines)
        if old != new:
            changes[kind] = [*(f"+ {line}" for line in new - old), *(f"- {line}" for line in old - new)]
    return changes
