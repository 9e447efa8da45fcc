"""What chaos has left: nothing open, doubled, leaked or lost. Reads Postgres, LiveKit and the API server, nothing else.

`chaos` tells the API server of each fault by an Event. Its customers number what they say: "Remark 7 …" is said again
until it is answered, and only then comes the next one. So a number below the highest that is missing among a
conversation's rows, on either side, is a row that was lost. Two agents spoke at once where an attempt goes on to
write what it says well after the next one has begun to.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from benchmarks.call_stage import Row, is_message
from benchmarks.release import run_against
from benchmarks.report import print_result
from testing.release import Release
from testing.release_calls import open_rooms
from voicesession.names import CLAIMED, STATE_LABEL

FAULT_REASON = "ChaosFault"
REMARK = re.compile(r"\bremark (\d+)\b", re.IGNORECASE)
PATIENCE_SECONDS = 180.0
# What an attempt had begun to say when the next one came is told within this.
OVERLAP = timedelta(seconds=5)
_OVER = {"Ended", "Failed"}


@dataclass(frozen=True)
class Left:
    """What is there after it. Objects as the API server shows them, rows as Postgres does, names of open rooms."""

    sessions: Sequence[Row]
    pods: Sequence[Row]
    faults: int
    conversations: Sequence[Row]  # of conversation_sessions
    messages: Sequence[Row]  # of conversation_messages
    rooms: Sequence[str]


def judge(left: Left) -> dict[str, int]:
    """Returns the figures; all but the first three are 0 where nothing went wrong."""
    by_conversation = defaultdict(list)
    for row in left.messages:
        by_conversation[row["session_id"]].append(row)
    ended = {one["room_id"] for one in left.conversations if one["ended_at"] is not None}
    open_calls = {each["metadata"]["uid"] for each in left.sessions if _phase(each) not in _OVER}
    open_conversations = {one["session_id"] for one in left.conversations if one["ended_at"] is None}
    return {
        "faults": left.faults,
        "calls": len(left.conversations),
        "remarks": sum(len(read_numbers(rows, "user")) for rows in by_conversation.values()),
        "unended": len(open_calls | open_conversations),
        "doubled": _count_doubled(left, by_conversation.values()),
        "rows_lost": sum(count_lost_rows(rows) for rows in by_conversation.values()),
        "pods_leaked": sum(1 for pod in left.pods if _is_leaked(pod)),
        "rooms_leaked": len(ended & set(left.rooms)),
    }


def count_lost_rows(rows: Sequence[Row]) -> int:
    """Returns how many numbers below a conversation's highest are missing among its remarks, and its answers."""
    highest = max(read_numbers(rows, "user"), default=0)
    wanted = set(range(1, highest))
    return sum(len(wanted - read_numbers(rows, role)) for role in ("user", "assistant"))


def read_numbers(rows: Iterable[Row], role: str) -> set[int]:
    """Returns the numbers of the remarks that this side's rows have."""
    texts = (row["content"] or "" for row in rows if is_message(row, [role]))
    return {int(number) for text in texts for number in REMARK.findall(text)}


def overlaps(rows: Sequence[Row]) -> bool:
    """Tells whether an older attempt's agent said something well after a newer one's had begun to."""
    spoken: dict[int, list[datetime]] = defaultdict(list)
    for row in rows:
        if is_message(row, ["assistant"]):
            spoken[row["attempt"]].append(_moment(row["created_at"]))
    attempts = sorted(spoken)
    return any(
        max(spoken[older]) > min(spoken[newer]) + OVERLAP for older in attempts for newer in attempts if newer > older
    )


def _count_doubled(left: Left, conversations: Iterable[Sequence[Row]]) -> int:
    sids = Counter(each.get("status", {}).get("roomSid") for each in left.sessions)
    rooms = Counter(one["room_id"] for one in left.conversations)
    twice = sum(count - 1 for sid, count in sids.items() if sid) + sum(count - 1 for count in rooms.values())
    return twice + sum(1 for rows in conversations if overlaps(rows))


def _is_leaked(pod: Row) -> bool:
    """Tells whether a pod is left of a call: all calls are over."""
    return pod["metadata"]["labels"].get(STATE_LABEL) == CLAIMED or "deletionTimestamp" in pod["metadata"]


def _phase(session: Row) -> str | None:
    return (session.get("status") or {}).get("phase")


def _moment(value: str | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def has_settled(found: Mapping[str, int]) -> bool:
    """Tells whether everything is over: no call, no pod and no room of one is left."""
    return not (found["unended"] or found["pods_leaked"] or found["rooms_leaked"])


def is_clean(found: Mapping[str, int]) -> bool:
    """Tells whether nothing went wrong."""
    return has_settled(found) and not (found["doubled"] or found["rows_lost"])


def read_left(release: Release, since: datetime) -> Left:
    """Returns what is left in a release of the calls since a moment."""
    after = since.isoformat()
    mine = f"session_id IN (SELECT session_id FROM voice.conversation_sessions WHERE created_at >= '{after}')"
    events = release.get("events", f"--field-selector=reason={FAULT_REASON}")["items"]
    sessions = release.get("voicesessions")["items"]
    return Left(
        sessions=[each for each in sessions if _moment(each["metadata"]["creationTimestamp"]) >= since],
        pods=release.get("pods", "-l", STATE_LABEL)["items"],
        faults=sum(1 for event in events if _moment(event["metadata"]["creationTimestamp"]) >= since),
        conversations=release.sql(f"SELECT * FROM voice.conversation_sessions WHERE created_at >= '{after}'"),
        messages=release.sql(f"SELECT * FROM voice.conversation_messages WHERE {mine} ORDER BY position, attempt"),
        rooms=asyncio.run(open_rooms(release)),
    )


def check(release: Release, since: datetime, patience: float) -> int:
    """Looks until everything is over, or for `patience` seconds; prints the figures; returns 1 where one is wrong."""
    deadline = time.monotonic() + patience
    while not has_settled(found := judge(read_left(release, since))) and time.monotonic() < deadline:
        print(f"  not over yet: {json.dumps(found)}", flush=True)
        time.sleep(5)
    result: dict[str, Any] = dict(found)
    print_result(result)
    return 0 if is_clean(found) else 1


def main() -> int:
    """Runs the check; returns 1 where something is lost, doubled, leaked or open."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos_check", description=__doc__)
    parser.add_argument("--since", type=datetime.fromisoformat, required=True, help="calls from this moment on (ISO)")
    parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS, help="seconds to wait until all is over")
    parser.add_argument("--release", default="voice", help="release and namespace (default voice, as the demo's)")
    arguments = parser.parse_args()
    return run_against(arguments.release, lambda release: check(release, arguments.since, arguments.patience))


if __name__ == "__main__":
    sys.exit(main())
