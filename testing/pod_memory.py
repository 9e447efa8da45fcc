"""What a pod's memory cgroup says, read inside the pod: the same for cgroup v1 and v2, on any cluster."""

from dataclasses import dataclass

from testing.release import Release

# Both versions name their files differently; a shell inside the pod prints whichever exist.
_READ = (
    "for f in memory/memory.stat memory/memory.usage_in_bytes memory.stat memory.current; do "
    'p=/sys/fs/cgroup/$f; [ -r $p ] && sed "s/^/$(basename $f) /" $p; done; true'
)


@dataclass(frozen=True)
class PodMemory:
    """Bytes. `anonymous`: what cannot be dropped; `working_set`: that and the file pages in use."""

    anonymous: int
    working_set: int


def read_pod_memory(release: Release, pod: str) -> PodMemory:
    """Returns the memory of a running pod's only container.

    Raises:
        testing.release.ReleaseError: the pod does not run.
    """
    return parse_pod_memory(release.kubectl("exec", pod, "--", "sh", "-c", _READ))


def parse_pod_memory(text: str) -> PodMemory:
    """Returns the figures in `file [key] value` lines of either cgroup version."""
    figures = {}
    for line in text.splitlines():
        *key, value = line.split()
        figures[" ".join(key)] = int(value)
    stat = "memory.stat "
    anonymous = figures.get(stat + "total_rss", figures.get(stat + "anon"))
    usage = figures.get("memory.usage_in_bytes", figures.get("memory.current"))
    inactive = figures.get(stat + "total_inactive_file", figures.get(stat + "inactive_file", 0))
    if anonymous is None or usage is None:
        raise ValueError(f"no memory cgroup of version 1 or 2 in: {text[:200]!r}")
    return PodMemory(anonymous, usage - inactive)
