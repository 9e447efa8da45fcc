"""`kubectl describe` tells a whole bad call, and the page shows one: its example is what is read here."""

import re
import secrets
import subprocess
from collections.abc import Iterator

from local_cluster.binaries import KUBERNETES
from local_cluster.layout import REPOSITORY
from testing.conversations import message
from testing.operator_cluster import OperatorCluster
from testing.stub_pod import Exit, StubPod
from testing.waiting import eventually
from voicesession import clock
from voicesession.measures import Measured, ModelFailures
from voicesession.models import EndReason
from voicesession.names import VOICE_SESSIONS
from voicesession.spool import SpooledEnd, SpooledStart, build_spool, spool_key

PAGE = REPOSITORY / "docs" / "reading-a-call.md"
# What is another in each call, and as the page has it.
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_MILLIS = re.compile(r"\d+ ms")
_POD = re.compile(r"\bdefault-[a-z0-9]{5}\b")


def describe(cluster: OperatorCluster, kind: str, name: str) -> str:
    """Returns what kubectl says of an object."""
    command = [str(KUBERNETES.path("kubectl")), "--kubeconfig", str(cluster.kubeconfig), "-n", cluster.namespace]
    done = subprocess.run([*command, "describe", kind, name], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def fold(text: str) -> str:
    """Returns a text without what is another in each call: times, and pods' names, which are numbered instead."""
    for number, pod in enumerate(dict.fromkeys(_POD.findall(text)), 1):
        text = text.replace(pod, f"POD-{number}")
    return _MILLIS.sub("N ms", _STAMP.sub("TIME", text))


def read_conditions(described: str) -> list[str]:
    """Returns what a description says in its conditions: each one's lines, in one."""
    part = described.partition("Conditions:\n")[2].partition("\n  Connect Millis:")[0].partition("Events:")[0]
    return [" ".join(each.split()) for each in re.split(r"(?=Last Transition Time:)", part) if each.strip()]


def read_events(described: str) -> Iterator[tuple[str, str, str]]:
    """Yields type, reason and message of each Event in a description."""
    for line in described.partition("Events:\n")[2].splitlines():
        found = re.match(r"  (Normal|Warning) +(\w+) +\S+(?: \(x\d+ over \S+\))? +voice-operator +(.*)", line)
        if found:
            yield found[1], found[2], found[3]


async def test_a_whole_bad_call_is_told(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 2})
    await cluster.create_profile()
    cluster.start_operator()
    await cluster.wait_for_warm(2)
    await cluster.create_session("call", room="room-" + secrets.token_hex(4))

    first = await agent_of(cluster, 1)
    failed = {"part": "stt", "provider": "local", "count": 3}
    outcomes = [ModelFailures.model_validate({**failed, "outcome": outcome}) for outcome in ("retried", "failed")]
    for _ in range(2):
        await first.say(Measured(at=clock.now(), failures=outcomes))
    await first.stop()  # its port is closed before its kubelet says how it ended

    await agent_of(cluster, 2)
    await first.exit(Exit(137, "OOMKilled"))
    await cluster.patch(VOICE_SESSIONS, "call", {"spec": {"move": "now"}})

    third = await agent_of(cluster, 3)
    session = await cluster.session("call")
    assert session is not None
    ended = SpooledEnd(reason="participant_left", ended_at=clock.now())
    started = SpooledStart(room_id="room", profile="default", started_at=clock.now())
    key = spool_key(session.metadata.uid, 3, secrets.token_hex(16))
    spool = build_spool(key, started, [message(1, "swordfish"), message(2, "swordfish")], ended)
    await third.finish(EndReason.PARTICIPANT_LEFT, spool=spool)
    await cluster.wait_for_phase("call", "Ended")

    shown = [each for each in re.findall(r"(?:^    .*\n|^\n)+", PAGE.read_text(), re.MULTILINE) if "Events:" in each]
    page = fold(re.sub(r"^    ", "", shown[0], flags=re.MULTILINE))
    described = ""

    def told() -> bool:
        nonlocal described
        described = describe(cluster, "vs", "call")
        return len(list(read_events(described))) == len(list(read_events(page)))

    await eventually(told, why=lambda: described)
    now = fold(described)
    assert sorted(read_events(now)) == sorted(read_events(page)), described
    assert read_conditions(now) == read_conditions(page), described
    assert "swordfish" not in described


async def agent_of(cluster: OperatorCluster, attempt: int) -> StubPod:
    """Returns the call's agent of this attempt, once it is in the room."""

    async def look() -> StubPod | None:
        session = await cluster.session("call")
        there = session is not None and (session.status.phase, session.status.attempts) == ("Active", attempt)
        return cluster.stub_of(session) if session and there else None

    return await eventually(look)
