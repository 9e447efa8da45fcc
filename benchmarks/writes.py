"""What the operator writes to the API server for a call's whole life, counted from the API server's audit log.

Warm starts at a gentle rate, on the control plane of `claims`: from the first VoiceSession's creation until the last
has expired and the pool is full again. The operator has an identity of its own, so nobody else's writes count.
"""

import argparse
import itertools
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from benchmarks.control_plane import running_control_plane, scratch_folder
from benchmarks.processes import run_benchmark
from benchmarks.report import print_result
from benchmarks.session_load import Load, run_load
from voicesession.names import AGENT_POOLS, AGENT_PROFILES

WRITE_VERBS = ("create", "update", "patch", "delete", "deletecollection")
POOL_SIZE = 20
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "None", "verbs": ["get", "list", "watch"]}, {"level": "Metadata"}],
}


@dataclass(frozen=True)
class Write:
    """One request by the operator that changes something, or tried to."""

    verb: str
    resource: str  # with its subresource
    name: str
    at: datetime
    status: int

    @property
    def what(self) -> str:
        """Returns verb and resource, and the status where it was refused."""
        return f"{self.verb} {self.resource}" + ("" if self.status < 300 else f" ({self.status})")


def audit_arguments(folder: Path, log: Path) -> tuple[str, ...]:
    """Returns what has an API server write `log`: who has asked it to change what; writes the policy into `folder`."""
    policy = folder / "audit-policy.yaml"
    policy.write_text(yaml.safe_dump(_POLICY))
    return (f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--audit-log-mode=blocking")


def read_writes(log: Path, user: str) -> list[Write]:
    """Returns this user's writes in an audit log, without the Lease's."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    own = [event for event in events if event["user"]["username"] == user and event["verb"] in WRITE_VERBS]
    return [write for write in map(_to_write, own) if write.resource != "leases"]


def _to_write(event: dict[str, dict[str, str]]) -> Write:
    target = event["objectRef"]
    return Write(
        verb=str(event["verb"]),
        resource="/".join(filter(None, (target["resource"], target.get("subresource")))),
        name=target.get("name", ""),
        at=datetime.fromisoformat(str(event["requestReceivedTimestamp"])),
        status=int(event["responseStatus"]["code"]),
    )


def shortest_pause(writes: Sequence[Write]) -> float:
    """Returns the least seconds between two writes to the same object; nan where none had two."""
    moments = defaultdict(list)
    for write in writes:
        moments[write.resource, write.name].append(write.at)
    pauses = [(b - a).total_seconds() for each in moments.values() for a, b in itertools.pairwise(sorted(each))]
    return min(pauses, default=float("nan"))


def report(writes: Sequence[Write], load: Load, seconds: float) -> int:
    """Prints the table and the last line; returns 1 where a VoiceSession was lost or had two pods."""
    sessions = len(load.due)
    of_status = [write for write in writes if write.resource in {f"{AGENT_POOLS}/status", f"{AGENT_PROFILES}/status"}]
    of_pool = [write for write in of_status if write.resource.startswith(AGENT_POOLS)]
    events = [write for write in writes if write.resource == "events"]
    counts = Counter(write.what for write in writes)
    print(f"\nThe operator's writes for {sessions} VoiceSessions in {seconds:.0f} s")
    print(f"  {'':<44}{'n':>6}{'each':>9}")
    for what, count in counts.most_common():
        print(f"  {what:<44}{count:>6}{count / sessions:>9.2f}")
    pause = shortest_pause(of_status)
    print(f"  pool and profile status: at least {pause:.2f} s between two writes of the same")
    print_result(
        {
            "writes_per_session": (len(writes) - len(events) - len(of_status)) / sessions,
            "events_per_session": len(events) / sessions,
            "pool_status_writes_per_minute": len(of_pool) * 60 / seconds,
            "profile_status_writes_per_minute": (len(of_status) - len(of_pool)) * 60 / seconds,
            "status_pause_s": pause,
            "lost": load.lost,
            "doubled": load.doubled,
        }
    )
    return 1 if load.lost or load.doubled else 0


async def measure(count: int, rate: float) -> int:
    """Runs the calls and counts what was written."""
    with scratch_folder() as folder:
        log = folder / "audit.log"
        async with running_control_plane(folder, audit_arguments(folder, log)) as plane:
            await plane.fill_pool(POOL_SIZE)
            before = len(read_writes(log, plane.operator.user))
            began = time.monotonic()
            load = await run_load(plane, rate, count, POOL_SIZE)
            return report(read_writes(log, plane.operator.user)[before:], load, time.monotonic() - began)


def main() -> int:
    """Runs the benchmark; returns 1 where a VoiceSession was lost or had two pods."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.writes", description=__doc__)
    parser.add_argument("--sessions", type=int, default=50, help="VoiceSessions (default 50)")
    parser.add_argument("--rate", type=float, default=1, help="VoiceSessions a second (default 1)")
    arguments = parser.parse_args()
    print("Starting the control plane (its first build takes minutes)", flush=True)
    return run_benchmark(measure(arguments.sessions, arguments.rate))


if __name__ == "__main__":
    sys.exit(main())
