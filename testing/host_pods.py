"""The processes of a pod whose node is a part of this machine: found by their cgroup, to be killed or stopped."""

from pathlib import Path

# It holds a pod's namespaces, and is nothing of ours.
_PAUSE = "pause"


def processes_of_pod(uid: str, program: str = "") -> list[int]:
    """Returns the ids of a pod's processes, or of those that run `program`; none where its node is elsewhere."""
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _is_of_pod(folder, uid, program)]


def _is_of_pod(folder: Path, uid: str, program: str) -> bool:
    try:
        name, groups = (folder / "comm").read_text().strip(), (folder / "cgroup").read_text()
    except OSError:
        return False
    # Not the kubelet's probe of a database, say, which runs in the same cgroup: `program` tells them apart.
    wanted = name == program if program else name != _PAUSE
    # A cluster may write the uid with underscores (systemd) or as it is (cgroupfs).
    return wanted and (f"pod{uid}" in groups or f"pod{uid.replace('-', '_')}" in groups)
