"""Runs the agent pod's process as Kubernetes would, and speaks to it as the operator does."""

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from local_cluster.ports import LOOPBACK, at, free_port
from testing.agent_forkserver import ForkedProcess, fork_agent
from testing.livekit import LiveKitServer
from testing.tasks import Tasks
from testing.waiting import eventually
from voicesession.assignment import (
    PROTOCOL,
    Assignment,
    CallEnded,
    EndRequest,
    HandOverRequest,
    Joined,
    PodEvent,
    Preparation,
    TakeOver,
    TerminationMessage,
    parse_pod_event,
)
from voicesession.models import (
    AgentProfileSpec,
    EffectiveLimits,
    LlmModel,
    Provider,
    SecretRef,
    SttModel,
    Timeouts,
    TtsModel,
)
from voicesession.pod_seal import SEALED, new_pod_key, seal
from voicesession.pod_tokens import Purpose, public_key_pem, sign_pod_request
from voicesession.spool import Spool

READY_SECONDS = 60.0

_Event = TypeVar("_Event", bound=PodEvent)


@dataclass
class Follower:
    """One reader of a pod's event stream."""

    events: list[PodEvent] = field(default_factory=list)

    def all_of(self, kind: type[_Event]) -> list[_Event]:
        """Returns the events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[_Event], timeout: float = 30.0) -> _Event:
        """Returns the first event of this kind, when it has come."""
        await self.until(lambda: bool(self.all_of(kind)), timeout, kind.__name__)
        return self.all_of(kind)[0]

    async def until(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Waits until `condition` holds."""
        await eventually(condition, timeout, lambda: f"{what}; there were {self.events}")


class AgentPod:
    """A running agent process."""

    def __init__(
        self,
        process: ForkedProcess,
        folder: Path,
        host: str,
        uid: str,
        key: Ed25519PrivateKey,
        seal_key: str,
    ) -> None:
        """`folder` holds its logs and its termination message, `host` is its address and port.

        `seal_key`: by which it is told what it is told.
        """
        self.process = process
        self.folder = folder
        self.uid = uid
        self.key = key
        self.seal_key = seal_key
        self.url = f"http://{host}"
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=5))
        self._tasks = Tasks()
        self._whole_log: str | None = None

    @property
    def log(self) -> str:
        """What it has written to its standard error so far."""
        return self._whole_log if self._whole_log is not None else (self.folder / "log").read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The whole lines of its log so far, without what its code prints."""
        return [json.loads(line) for line in self.log.split("\n")[:-1] if line.startswith("{")]

    def termination(self) -> TerminationMessage:
        """What it left for Kubernetes."""
        return TerminationMessage.model_validate_json((self.folder / "termination").read_bytes())

    async def wait_until_ready(self) -> None:
        """Waits until its readiness probe succeeds."""
        await eventually(self._is_ready, READY_SECONDS, lambda: self.log)

    async def _is_ready(self) -> bool:
        assert self.process.returncode is None, self.log
        with contextlib.suppress(aiohttp.ClientError):
            return await self.get("/readyz") == 200
        return False

    async def request(
        self, method: str, path: str, purpose: Purpose, body: bytes = b"", token: str | None = None
    ) -> aiohttp.ClientResponse:
        """Sends one request with a token of the operator's, or with the given one; the caller releases the answer."""
        headers = {}
        if token is None:
            if body:
                body, headers["Content-Type"] = seal(self.seal_key, self.uid, purpose, body), SEALED
            token = sign_pod_request(self.key, self.uid, purpose, body)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return await self._session.request(method, f"{self.url}{path}", data=body, headers=headers)

    async def get(self, path: str) -> int:
        """Returns the status of a plain GET."""
        async with self._session.get(f"{self.url}{path}") as response:
            return response.status

    async def assign(self, assignment: Assignment) -> Follower:
        """Hands over the assignment; returns a reader of the stream."""
        body = to_body(assignment)
        return self._follow(await self.request("POST", "/assignment", Purpose.ASSIGNMENT, body))

    async def follow(self) -> Follower:
        """Returns another reader of the stream."""
        return self._follow(await self.request("GET", "/events", Purpose.EVENTS))

    async def end(self, request: EndRequest | None = None) -> int:
        """Asks for the call's end; returns the status."""
        answer = await self.request("POST", "/end", Purpose.END, to_body(request or EndRequest()))
        answer.release()
        return answer.status

    async def hand_over(self, patience: float = 20.0) -> int:
        """Asks for the hand-over of its call; returns the status."""
        body = to_body(HandOverRequest(patience_seconds=patience))
        async with await self.request("POST", "/hand-over", Purpose.HAND_OVER, body) as answer:
            return answer.status

    async def take_over(self, request: TakeOver) -> int:
        """Has it take a call over, or know what was heard late; returns the status."""
        async with await self.request("POST", "/take-over", Purpose.TAKE_OVER, to_body(request)) as answer:
            return answer.status

    async def spool(self) -> Spool | None:
        """Asks for what it could not write; None where it has nothing."""
        async with await self.request("GET", "/spool", Purpose.SPOOL) as answer:
            return Spool.model_validate_json(await answer.read()) if answer.status == 200 else None

    async def let_go_of_spool(self) -> int:
        """Tells that its spool is kept; returns the status."""
        async with await self.request("DELETE", "/spool", Purpose.SPOOL_KEPT) as answer:
            return answer.status

    async def prepare(self, preparation: Preparation) -> int:
        """Hands over greetings; returns the status."""
        answer = await self.request("POST", "/prepare", Purpose.PREPARE, to_body(preparation))
        answer.release()
        return answer.status

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    async def exit_code(self, timeout: float = 30.0) -> int:
        """Waits until it has exited."""
        async with asyncio.timeout(timeout):
            return await self.process.wait()

    async def aclose(self) -> None:
        """Kills it if it still runs."""
        await self._tasks.cancel()
        await self._session.close()
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self._whole_log = self.log

    def _follow(self, answer: aiohttp.ClientResponse) -> Follower:
        assert answer.status == 200, answer.status
        follower = Follower()
        self._tasks.start(self._read(answer, follower))
        return follower

    @staticmethod
    async def _read(answer: aiohttp.ClientResponse, follower: Follower) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            async for line in answer.content:
                follower.events.append(parse_pod_event(line))


@asynccontextmanager
async def running_pod(
    providers: Sequence[Provider] = (),
    keys: Mapping[str, str] | None = None,
    wait: bool = True,
    shows_log: bool = True,
    address: str = LOOPBACK,
    **environment: str,
) -> AsyncIterator[AgentPod]:
    """Starts a pod's process and waits until it is ready; kills it afterwards. `keys`: provider keys by name.

    shows_log: on standard output, when it is over. address: at which it is asked; it listens everywhere.
    """
    key = Ed25519PrivateKey.generate()
    uid, port, seal_key = str(uuid.uuid4()), free_port(), new_pod_key()
    with tempfile.TemporaryDirectory(prefix="vac-pod-") as name:
        folder = Path(name)
        for provider, value in (keys or {}).items():
            (folder / "keys" / provider).mkdir(parents=True)
            (folder / "keys" / provider / "api-key").write_text(value + "\n")
        variables = {
            "POD_UID": uid,
            "POD_NAME": "pod-1",
            "OPERATOR_PUBLIC_KEY": public_key_pem(key),
            "OPERATOR_PROTOCOL": str(PROTOCOL),
            "POD_SEAL_KEY": seal_key,
            "AGENT_PROVIDERS": json.dumps([name_key(provider, keys or {}).to_wire() for provider in providers]),
            "AGENT_PORT": str(port),
            "PROVIDER_KEYS_FOLDER": str(folder / "keys"),
            "TERMINATION_LOG": str(folder / "termination"),
            **environment,
        }
        process = await fork_agent(variables, folder / "log", environment.get("WORKING_FOLDER", name))
        pod = AgentPod(process, folder, at(address, port), uid, key, seal_key)
        try:
            if wait:
                await pod.wait_until_ready()
            yield pod
        finally:
            await pod.aclose()
            if shows_log:
                # By pytest, where the test fails.
                sys.stdout.write(pod.log)


def name_key(provider: Provider, keys: Mapping[str, str]) -> Provider:
    """Returns the provider with its Secret named, where it is given a key: without, none is asked with."""
    if provider.name not in keys or provider.secret_ref:
        return provider
    return provider.model_copy(update={"secret_ref": SecretRef(name=provider.name)})


def to_body(model: Any) -> bytes:
    """Returns a model as a request's body."""
    return json.dumps(model.to_wire()).encode()


def build_provider(base_url: str, name: str = "fake", **parts: Any) -> Provider:
    """Returns a provider whose models all live at one URL."""
    # A test's machine may be very busy.
    patient = Timeouts(connect_seconds=30, read_seconds=60)
    return Provider(
        name=name,
        stt=SttModel(base_url=base_url, model="whisper", timeouts=patient),
        llm=LlmModel(base_url=base_url, model="chat", timeouts=patient),
        tts=TtsModel(base_url=base_url, model="speech", voice="alloy", timeouts=patient),
        **parts,
    )


def build_assignment(
    livekit: LiveKitServer,
    room: str,
    profile: AgentProfileSpec | None = None,
    limits: EffectiveLimits | None = None,
    **fields: Any,
) -> Assignment:
    """Returns a first attempt at a new conversation for `customer` in `room`.

    Nobody is told that the answer takes a moment, unless the profile says how: on a busy machine each may.
    """
    profile = profile or AgentProfileSpec(greeting="Hello there.", goodbye="Bye now.")
    trouble = profile.trouble.model_copy(update={"moment": profile.trouble.moment or ""})
    values: dict[str, Any] = {
        "session_id": str(uuid.uuid4()),
        "voice_session": "vs-test",
        "attempt": 1,
        "room": room,
        "livekit_url": livekit.url,
        "room_token": livekit.agent_token(room),
        "participant_identity": "customer",
        "profile_name": "default",
        "profile": profile.model_copy(update={"trouble": trouble}),
        "provider": "fake",
        # Who hangs up in a test does not come back; those that do are given their limits.
        "limits": limits or EffectiveLimits(return_grace_seconds=0),
        "write_token": "unused",
        **fields,
    }
    return Assignment.model_validate(values)


def joined(follower: Follower) -> Joined:
    """Returns the event that says the agent is in the room."""
    return follower.all_of(Joined)[0]


def ended(follower: Follower) -> CallEnded:
    """Returns the last event."""
    return follower.all_of(CallEnded)[0]
