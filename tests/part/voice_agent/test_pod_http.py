"""An agent pod's process as the operator and the kubelet meet it: health, tokens, refusals, exits."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from local_cluster.ports import LOOPBACK, free_port
from testing.agent_pod import AgentPod, build_assignment, build_provider, running_pod, to_body
from testing.fake_openai import FakeOpenAI
from testing.livekit import LiveKitServer
from testing.waiting import eventually
from voicesession import clock
from voicesession.assignment import PROTOCOL, Accepted, CallEnded, EndRequest, Greeting, Heartbeat, Preparation
from voicesession.models import EndReason
from voicesession.pod_tokens import Purpose, sign_pod_request

NOWHERE = "http://127.0.0.1:1/v1"


@pytest.fixture
def unreachable() -> LiveKitServer:
    """A LiveKit that is not there."""
    return LiveKitServer(free_port())


@pytest.fixture
async def mute() -> AsyncIterator[LiveKitServer]:
    """A LiveKit that says nothing: an agent is on its way to it for as long as a test takes."""
    port = free_port()
    connections = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()

    async with await asyncio.start_server(take, LOOPBACK, port):
        yield LiveKitServer(port)
        for connection in connections:
            connection.close()


async def problem(pod: AgentPod, path: str, purpose: Purpose, body: bytes, token: str | None = None) -> dict[str, Any]:
    """Posts what must be refused; returns the problem."""
    answer = await pod.request("POST", path, purpose, body, token)
    assert answer.content_type == "application/problem+json"
    found: dict[str, Any] = await answer.json()
    assert found["status"] == answer.status
    return found


async def test_a_waiting_pod_is_healthy_and_ready(pod: AgentPod) -> None:
    assert await pod.get("/healthz") == 200
    assert await pod.get("/readyz") == 200
    answer = await pod.request("GET", "/events", Purpose.EVENTS)
    assert answer.status == 404


async def test_one_thread_drives_the_connection(pod: AgentPod) -> None:
    # LiveKit's library runs Tokio, which would take a thread for each core.
    assert count_threads(pod.process.pid, "tokio-rt-worker") == 1


def count_threads(process: int, name: str) -> int:
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [(task / "comm").read_text().strip() for task in tasks].count(name)


async def test_tokens_that_open_nothing(pod: AgentPod, unreachable: LiveKitServer) -> None:
    body = to_body(build_assignment(unreachable, "room-1"))
    mine, stranger = pod.key, Ed25519PrivateKey.generate()
    past = clock.now() - timedelta(minutes=5)
    claims = jwt.decode(sign_pod_request(mine, pod.uid, Purpose.ASSIGNMENT, body), options={"verify_signature": False})
    expired = jwt.encode({**claims, "iat": past, "exp": past + timedelta(seconds=30)}, mine, algorithm="EdDSA")
    unsigned = jwt.encode(claims, "", algorithm="none")
    tokens = {
        "no token": "",
        "not a token": "abc",
        "another key": sign_pod_request(stranger, pod.uid, Purpose.ASSIGNMENT, body),
        "another pod": sign_pod_request(mine, "another-uid", Purpose.ASSIGNMENT, body),
        "another purpose": sign_pod_request(mine, pod.uid, Purpose.EVENTS, body),
        "another body": sign_pod_request(mine, pod.uid, Purpose.ASSIGNMENT, body + b" "),
        "expired": expired,
        "unsigned": unsigned,
    }
    for why, token in tokens.items():
        assert (await problem(pod, "/assignment", Purpose.ASSIGNMENT, body, token))["status"] == 401, why
    assert await pod.get("/readyz") == 200
    refused = [(line["path"], line["status"]) for line in pod.lines if line["message"] == "request refused"]
    assert refused == [("/assignment", 401)] * len(tokens)


async def test_bodies_that_are_none(pod: AgentPod, unreachable: LiveKitServer) -> None:
    wire = build_assignment(unreachable, "room-1").to_wire()
    bodies = {
        b"": "body",
        b"[]": "body",
        json.dumps({**wire, "attempt": 0}).encode(): "attempt",
        json.dumps({**wire, "surprise": 1}).encode(): "surprise",
        json.dumps({name: value for name, value in wire.items() if name != "room"}).encode(): "room",
        json.dumps({**wire, "provider": "unheard-of"}).encode(): "no provider 'unheard-of'; it has: fake",
    }
    for body, named in bodies.items():
        found = await problem(pod, "/assignment", Purpose.ASSIGNMENT, body)
        assert found["status"] == 400
        assert named in found["detail"]
    huge = json.dumps({**wire, "variables": {"a": "x" * 600_000}}).encode()
    assert (await problem(pod, "/assignment", Purpose.ASSIGNMENT, huge))["status"] == 413
    assert await pod.get("/readyz") == 200


async def test_one_assignment_only(pod: AgentPod, mute: LiveKitServer) -> None:
    assignment = build_assignment(mute, "room-1")
    first = await pod.assign(assignment)
    await first.wait_for(Accepted)
    assert await pod.get("/readyz") == 200
    another = to_body(build_assignment(mute, "room-2"))
    assert (await problem(pod, "/assignment", Purpose.ASSIGNMENT, another))["status"] == 409
    later = to_body(assignment.model_copy(update={"attempt": 2}))
    assert (await problem(pod, "/assignment", Purpose.ASSIGNMENT, later))["status"] == 409
    assert (await problem(pod, "/prepare", Purpose.PREPARE, to_body(Preparation())))["status"] == 503
    again, after_restart = await pod.assign(assignment), await pod.follow()
    assert await pod.end() == 202
    for follower in (first, again, after_restart):
        await follower.wait_for(CallEnded)
        assert [event.type for event in follower.events if not isinstance(event, Heartbeat)] == ["accepted", "ended"]
    assert await pod.exit_code() == 0
    assert pod.termination().reason == "ended_by_request"


async def test_an_end_that_comes_before_its_call(pod: AgentPod, unreachable: LiveKitServer) -> None:
    assert await pod.end(EndRequest(message="nobody waits any more")) == 202
    assignment = to_body(build_assignment(unreachable, "room-1"))
    assert (await problem(pod, "/assignment", Purpose.ASSIGNMENT, assignment))["status"] == 503
    assert await pod.end() == 202
    assert await pod.exit_code() == 0
    left = pod.termination()
    assert (left.reason, left.message, left.end_written) == ("ended_by_request", "nobody waits any more", False)


async def test_an_end_may_be_asked_for_again_and_again(pod: AgentPod, mute: LiveKitServer) -> None:
    follower = await pod.assign(build_assignment(mute, "room-1"))
    assert await pod.end(EndRequest(reason=EndReason.MAX_DURATION)) == 202
    assert await pod.end() == 202
    assert (await follower.wait_for(CallEnded)).reason is EndReason.MAX_DURATION
    assert await pod.exit_code() == 0


async def test_there_is_no_spool_of_a_call_that_goes_on(pod: AgentPod, mute: LiveKitServer) -> None:
    async def ask(method: str, purpose: Purpose) -> int:
        answer = await pod.request(method, "/spool", purpose)
        answer.release()
        return answer.status

    assert (await ask("GET", Purpose.SPOOL), await ask("DELETE", Purpose.SPOOL_KEPT)) == (404, 409)
    await (await pod.assign(build_assignment(mute, "room-1"))).wait_for(Accepted)
    assert (await ask("GET", Purpose.SPOOL), await ask("DELETE", Purpose.SPOOL_KEPT)) == (409, 409)
    assert (await ask("GET", Purpose.EVENTS), await ask("DELETE", Purpose.SPOOL)) == (401, 401)


async def test_a_livekit_that_is_not_there(pod: AgentPod, unreachable: LiveKitServer) -> None:
    follower = await pod.assign(build_assignment(unreachable, "room-1"))
    ended = await follower.wait_for(CallEnded)
    assert ended.reason is EndReason.ERROR
    assert "LiveKit refused the agent or could not be reached" in ended.message
    assert await pod.exit_code() == 0
    assert pod.termination().reason == "error"


async def test_a_stopped_pod_without_a_call_exits_at_once(pod: AgentPod) -> None:
    pod.signal(signal.SIGTERM)
    assert await pod.exit_code(5) == 0


async def test_a_pod_that_is_stopped_while_it_starts_exits_at_once(tmp_path: Path) -> None:
    body = "import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(600)\n"
    (tmp_path / "acme.py").write_text(body)
    async with running_pod(wait=False, AGENT_CODE="acme", WORKING_FOLDER=str(tmp_path)) as pod:
        await eventually((tmp_path / "importing").exists, 60)
        pod.signal(signal.SIGTERM)
        # Its own answer, and not the signal's default, which the first process of a container does not have.
        assert await pod.exit_code() == 0


async def test_greetings_are_prepared_while_the_pod_waits(pod: AgentPod, fake: FakeOpenAI) -> None:
    hello = Greeting(provider="fake", text="Hello there.")
    assert await pod.prepare(Preparation(greetings=[hello])) == 202
    await eventually(lambda: len(fake.spoken) >= 2)
    assert fake.spoken[0] == "Hello there."
    assert "sorry" in fake.spoken[1]


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        ("acme:entrypoint", "import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("acme:entrypoint", "x = 1", "module 'acme' has no 'entrypoint'; the pool's `code` is 'acme:entrypoint'"),
        (
            "acme",
            "def prewarm(p): ...",
            "module 'acme' has 0 AgentServers, or WorkerOptions that name an entrypoint; "
            "name what to run as `acme:Name`",
        ),
    ],
)
async def test_code_that_cannot_be_used(tmp_path: Path, code: str, text: str, said: str) -> None:
    (tmp_path / "acme.py").write_text(text)
    where = str(tmp_path)
    async with running_pod([build_provider(NOWHERE)], wait=False, AGENT_CODE=code, WORKING_FOLDER=where) as pod:
        assert await pod.exit_code(60) == 1
        assert pod.termination().reason == "CodeImportFailed"
        assert pod.termination().message == said


async def test_an_operator_that_speaks_otherwise_is_told_before_anything_else_of_it_is_read() -> None:
    async with running_pod(wait=False, OPERATOR_PROTOCOL=str(PROTOCOL + 1), AGENT_VAD="loud") as pod:
        assert await pod.exit_code(60) == 1
        assert pod.termination().reason == "ProtocolUnknown"
        said = f"this image speaks protocol {PROTOCOL} with its operator, which speaks {PROTOCOL + 1}:"
        assert pod.termination().message.startswith(said)


async def test_an_environment_that_is_wrong() -> None:
    async with running_pod(wait=False, AGENT_VAD="loud") as pod:
        assert await pod.exit_code(60) == 2
        assert "AGENT_VAD" in pod.log
