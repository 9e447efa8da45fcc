"""A cgroup per node in every hierarchy there is, on cgroup v1, v2 and the hybrid of both; or one for the CPUs alone."""

import time
from pathlib import Path

from local_cluster.errors import ClusterError

_MOUNTS = Path("/proc/self/mounts")
REMOVE_SECONDS = 20.0


def create(name: str) -> None:
    """Makes the cgroup `name` everywhere, ready to have children with limits."""
    for hierarchy, kind in _hierarchies():
        folder = hierarchy / name
        folder.mkdir(exist_ok=True)
        if kind == "cgroup2":
            _hand_down_controllers(hierarchy, folder)
        elif (hierarchy / "cpuset.cpus").exists():
            # A new cpuset is empty, and an empty one accepts no process.
            for file in ("cpuset.cpus", "cpuset.mems"):
                (folder / file).write_text((hierarchy / file).read_text())


def create_cpu_share(name: str) -> Path:
    """Makes the cgroup `name`, whose processes weigh as much together as a node's; returns the file that takes them.

    Raises ClusterError where no hierarchy shares out the CPUs.
    """
    for hierarchy, kind in _hierarchies():
        if kind == "cgroup2" and "cpu" in (hierarchy / "cgroup.controllers").read_text().split():
            _hand_down(hierarchy, "cpu")
        elif not (hierarchy / "cpu.shares").exists():
            continue
        (hierarchy / name).mkdir(exist_ok=True)
        return hierarchy / name / "cgroup.procs"
    raise ClusterError("There is no cgroup hierarchy with the controller `cpu`.")


def exists(name: str) -> bool:
    """Whether the cgroup is there in any hierarchy."""
    return any((hierarchy / name).exists() for hierarchy, _ in _hierarchies())


def remove(name: str) -> None:
    """Removes the cgroup and all below it; its processes must be gone, or on their way.

    Raises ClusterError when some of them stay.
    """
    for hierarchy, _ in _hierarchies():
        deadline = time.monotonic() + REMOVE_SECONDS
        while not _remove_tree(hierarchy / name):
            if time.monotonic() > deadline:
                raise ClusterError(f"The cgroup {hierarchy / name} cannot be removed: a process in it does not end.")
            time.sleep(0.05)


def _hierarchies() -> list[tuple[Path, str]]:
    mounts = [line.split() for line in _MOUNTS.read_text().splitlines()]
    return [(Path(mount[1]), mount[2]) for mount in mounts if mount[2] in {"cgroup", "cgroup2"}]


def _hand_down_controllers(root: Path, folder: Path) -> None:
    # Which of them v1 hierarchies hold already differs from machine to machine; only these are free to hand down.
    for parent in (root, folder):
        for controller in (parent / "cgroup.controllers").read_text().split():
            _hand_down(parent, controller)


def _hand_down(parent: Path, controller: str) -> None:
    try:
        (parent / "cgroup.subtree_control").write_text(f"+{controller}")
    except OSError as error:
        raise ClusterError(
            f"The cgroup controller {controller} cannot be handed down from {parent} ({error.strerror}). That "
            "is so inside a container: use the machine itself, or CLUSTER=kind or CLUSTER=current."
        ) from error


def _remove_tree(folder: Path) -> bool:
    if not folder.exists():
        return True
    children = [child for child in folder.iterdir() if child.is_dir()]
    for child in children:
        if not _remove_tree(child):
            return False
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
