"""The operator is killed at each await of a call, and the next one goes on: with one agent, which is never ended.

Each row is a moment at which the real program is killed. Before the next one starts an hour seems to pass: what the
claim stamped says so.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from testing.api_server_gate import Gate, gated_api_server
from testing.operator_cluster import OperatorCluster
from testing.stub_pod import Script, StubPod
from testing.waiting import eventually
from voice_operator.pools import decide
from voicesession.models import EndReason
from voicesession.names import AGENT_POOLS, CLAIMED_AT_ANNOTATION, SESSION_LABEL, VOICE_SESSIONS

When = Callable[[str, str, bytes], bool]


def is_claim(method: str, path: str, _body: bytes) -> bool:
    return method == "PATCH" and "/pods/" in path


def is_status(method: str, path: str, body: bytes) -> bool:
    return method == "PATCH" and path.endswith("/status") and f"/{VOICE_SESSIONS}/" in path and b"AgentJoined" in body


def is_finish(method: str, path: str, body: bytes) -> bool:
    return is_status(method, path, body) and b'"Finished"' in body


def never(_method: str, _path: str, _body: bytes) -> bool:
    return False


def is_loss(method: str, path: str, body: bytes) -> bool:
    return is_status(method, path, body) and b'"lostAttempt"' in body and b'"Joined"' not in body


def is_second_claim(method: str, path: str, body: bytes) -> bool:
    return is_claim(method, path, body) and b'"2"' in body


def is_recovered(method: str, path: str, body: bytes) -> bool:
    return is_status(method, path, body) and b'"lostAttempt"' in body and b'"Joined"' in body


@dataclass
class Doomed:
    """An operator that is killed at a moment, behind its gate."""

    cluster: OperatorCluster
    gate: Gate
    kubeconfig: Path
    process: Any = None
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, before: When = never, after: When = never) -> None:
        """Starts it; it is killed at the first request of which `before` or `after` says so."""
        self.gate.before, self.gate.after = self._killing(before), self._killing(after)
        self.process = self.cluster.start_operator_process(self.kubeconfig)

    def _killing(self, when: When) -> When:
        def look(method: str, path: str, body: bytes) -> bool:
            if self.killed.is_set() or when(method, path, body):
                self.kill()
                return True
            return False

        return look

    def kill(self) -> None:
        """Kills it, if it runs."""
        if not self.killed.is_set():
            self.process.send_signal(signal.SIGKILL)
            self.killed.set()

    async def until_killed(self) -> None:
        """Waits for that, and has its claims be an hour old."""
        await eventually(self.killed.is_set)
        await asyncio.to_thread(self.process.wait, 10)
        for pod in await self.cluster.pods():
            if SESSION_LABEL in pod["metadata"]["labels"]:
                path = f"{CLAIMED_AT_ANNOTATION.replace('/', '~1')}"
                old = {"op": "replace", "path": f"/metadata/annotations/{path}", "value": "2020-01-01T00:00:00+00:00"}
                await self.cluster.api.patch_pod(pod["metadata"]["name"], [old])


@pytest.fixture
async def doomed(cluster: OperatorCluster, api_server: Path, tmp_path: Path) -> AsyncIterator[Doomed]:
    """An operator that is going to be killed, with a pool of two pods."""
    # As the process has it: pods take it over, and those of another would be replaced.
    cluster.settings = cluster.settings.model_copy(update={"log_level": "DEBUG"})
    await cluster.create_pool(warm={"min": 2})
    await cluster.create_profile()
    async with gated_api_server(api_server, tmp_path) as (gate, kubeconfig):
        made = Doomed(cluster, gate, kubeconfig)
        yield made
        if made.process:
            made.kill()
            await asyncio.to_thread(made.process.wait, 10)


async def served_by_one(cluster: OperatorCluster, name: str = "call") -> StubPod:
    """Waits until the call is served; returns its pod, the only one that ever had it and goes on."""
    active = await cluster.wait_for_phase(name, "Active")
    assert active.status.reason == "Joined"
    having = [stub for stub in cluster.stubs_with(active) if not stub.exited]
    assert [stub.name for stub in having] == [active.status.pod_name]
    return having[0]


ROWS: dict[str, tuple[When, When]] = {
    "before the claim is sent": (is_claim, never),
    "before the claim is answered": (never, is_claim),
    "before it is told that the agent joined": (is_status, never),
    "before that is answered": (never, is_status),
}


@pytest.mark.parametrize("room", ["room", None])
@pytest.mark.parametrize("row", ROWS)
async def test_killed_at_a_request_the_next_one_serves_the_call(doomed: Doomed, row: str, room: str | None) -> None:
    cluster = doomed.cluster
    doomed.start(*ROWS[row])
    await cluster.wait_for_warm(2)
    await cluster.create_session("call", **({"room": room} if room else {}))
    await doomed.until_killed()
    had = [stub for stub in cluster.kubelet.stubs.values() if stub.assignment]
    cluster.start_operator()
    stub = await served_by_one(cluster)
    assert not had or had == [stub]  # who had the call goes on with it
    assert stub.assignments == 1


LOSS_ROWS: dict[str, tuple[When, When]] = {
    "before it is told that the agent is lost": (is_loss, never),
    "before the loss is answered": (never, is_loss),
    "before the next claim is sent": (is_second_claim, never),
    "before the next claim is answered": (never, is_second_claim),
    "before it is told that the next agent joined": (is_recovered, never),
    "before that one is answered": (never, is_recovered),
}


@pytest.mark.parametrize("row", LOSS_ROWS)
async def test_killed_while_a_call_recovers_the_next_one_goes_on(doomed: Doomed, row: str) -> None:
    cluster = doomed.cluster
    doomed.start(*LOSS_ROWS[row])
    await cluster.wait_for_warm(2)
    await cluster.create_session("call", room="room")
    first = await served_by_one(cluster)
    await first.crash()
    await doomed.until_killed()
    cluster.start_operator()

    async def goes_on() -> bool:
        session = await cluster.session("call")
        return session is not None and session.status.phase == "Active" and session.status.pod_name != first.name

    await eventually(goes_on)
    second = await served_by_one(cluster)
    call = await cluster.session("call")
    assert call is not None
    assert (call.status.lost_attempt, call.status.lost_agents) == (1, 1)
    assert second.assignment is not None
    assert second.assignment.attempt == call.status.attempts
    assert second.assignments == 1


async def test_killed_while_the_agent_joins_the_next_one_waits_for_it(doomed: Doomed) -> None:
    cluster = doomed.cluster
    cluster.kubelet.pod_script.join_seconds = 6
    doomed.start()
    await cluster.wait_for_warm(2)
    await cluster.create_session("call", room="room")
    stub = await eventually(lambda: next((each for each in cluster.kubelet.stubs.values() if each.assignment), None))
    doomed.kill()
    await doomed.until_killed()
    cluster.start_operator()
    assert await served_by_one(cluster) is stub


async def test_an_end_that_came_while_no_operator_ran_is_asked_of_the_pod(doomed: Doomed) -> None:
    cluster = doomed.cluster
    doomed.start(before=is_status)
    await cluster.wait_for_warm(2)
    await cluster.create_session("call", room="room")
    await doomed.until_killed()
    await cluster.patch(VOICE_SESSIONS, "call", {"spec": {"end": True}})
    stub = next(each for each in cluster.kubelet.stubs.values() if each.assignment)
    cluster.start_operator()
    ended = await cluster.wait_for_phase("call", "Ended")
    assert ended.status.end_reason == EndReason.ENDED_BY_REQUEST
    assert [asked.reason for asked in stub.end_requests] == [EndReason.ENDED_BY_REQUEST]


async def test_killed_after_the_end_was_written_the_next_one_clears_up(doomed: Doomed) -> None:
    cluster = doomed.cluster
    doomed.start(after=is_finish)
    await cluster.wait_for_warm(2)
    await cluster.create_session("call", room="room")
    stub = await served_by_one(cluster)
    await cluster.patch(VOICE_SESSIONS, "call", {"spec": {"end": True}})
    await doomed.until_killed()
    cluster.start_operator()

    async def is_cleared() -> bool:
        return stub.name not in {pod["metadata"]["name"] for pod in await cluster.pods()}

    await eventually(is_cleared)
    ended = await cluster.wait_for_phase("call", "Ended")
    assert ended.status.attempts == 1


async def test_killed_between_the_pods_of_a_pool_the_next_one_makes_the_rest(doomed: Doomed) -> None:
    cluster = doomed.cluster
    doomed.start(after=lambda method, path, _body: method == "POST" and path.endswith("/pods"))
    await doomed.until_killed()
    cluster.start_operator()
    await cluster.wait_for_warm(2)


async def test_a_claim_that_takes_effect_after_its_process_died_and_the_next_one_has_the_call_is_given_up(
    doomed: Doomed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server held it back in its queues: two pods, and each number once."""
    monkeypatch.setattr(decide, "UNREADY_GRACE", timedelta(minutes=5))
    cluster = doomed.cluster
    claims: list[tuple[str, bytes]] = []

    def hold_back(method: str, path: str, body: bytes) -> bool:
        if is_claim(method, path, body):
            claims.append((path, body))
            return True
        return False

    doomed.start(before=hold_back)
    await cluster.wait_for_warm(2)
    await cluster.create_session("call", room="room")
    await doomed.until_killed()
    late_pod, late_claim = claims[0][0].rsplit("/", 1)[-1], json.loads(claims[0][1])
    cluster.kubelet.stubs[late_pod].script = Script(ready=False)  # so that the next operator takes the other
    await cluster.kubelet.set_ready(late_pod, ready=False)
    cluster.start_operator()
    stub = await served_by_one(cluster)
    await cluster.api.patch_pod(late_pod, late_claim)

    async def is_given_up() -> bool:
        return late_pod not in {pod["metadata"]["name"] for pod in await cluster.pods()}

    await eventually(is_given_up)
    assert await served_by_one(cluster) is stub
    assert stub.assignment is not None
    assert stub.assignment.attempt == 2


async def test_killed_under_many_calls_the_next_one_follows_all_and_serves_new_ones(doomed: Doomed) -> None:
    """What `make bench NAME=restart` measures with thousands."""
    cluster, names = doomed.cluster, [f"call-{number}" for number in range(8)]
    await cluster.patch(AGENT_POOLS, "default", {"spec": {"warm": {"min": 10, "maxStarting": 20}}})
    doomed.start()
    await cluster.wait_for_warm(10)
    for name in names:
        await cluster.create_session(name, room=f"room-of-{name}")
    for name in names:
        await cluster.wait_for_phase(name, "Active")
    doomed.kill()
    await doomed.until_killed()
    stubs = [stub for stub in cluster.kubelet.stubs.values() if stub.assignment]
    cluster.start_operator()
    await cluster.create_session("new", room="room-of-new")
    await served_by_one(cluster, "new")
    await eventually(lambda: all(stub.streams == 2 for stub in stubs))
    assert len(stubs) == len(names)
    for name in names:
        await served_by_one(cluster, name)
