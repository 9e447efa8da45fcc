"""One replica of the token service: 300 token requests a second, then 20 room starts a second through the webhook.

Brings up a real API server and the service as a process of its own, and sends LiveKit's signed webhooks itself. Every
request has its time: one that is late because an earlier one was slow counts as slow. Beside the room starts, in turns,
the same VoiceSessions are created by bare POST requests.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from kubernetes.aio import client, config

from benchmarks.processes import cpu_seconds, running, until_ready
from benchmarks.report import Progress, percentile, print_result, print_table
from local_cluster.apiserver import running_apiserver
from local_cluster.ports import free_port
from testing.crds import apply_crds
from testing.fake_cluster import POOL
from testing.livekit import KEY, SECRET
from testing.tickets import sign_ticket, write_installation_key
from voicesession import clock
from voicesession.admission import build_voice_session
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, API_VERSION, GROUP, VERSION, VOICE_SESSIONS, new_room_name
from voicesession.tickets import new_ticket

NAMESPACE = "default"
TURNS = 3


@dataclass
class Measured:
    """Milliseconds a request, and what went wrong."""

    millis: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Replica:
    """One token service: the addresses of its front door and of its health, and its process."""

    door: str
    health: str
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class ApiServer:
    """The API server, with all rights, over connections that stay open."""

    http: aiohttp.ClientSession
    url: str

    async def create(self, plural: str, body: dict[str, Any]) -> None:
        """Creates one of our objects."""
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/{plural}"
        async with self.http.post(self.url + path, json=body) as answer:
            if answer.status != 201:
                raise RuntimeError(f"{answer.status}: {await answer.text()}")

    async def count_requests(self) -> int:
        """Returns how many requests for our kinds it has had since its start, lists and watches included."""
        async with self.http.get(f"{self.url}/metrics") as answer:
            text = await answer.text()
        lines = re.findall(rf'^apiserver_request_total\{{[^}}]*group="{GROUP}"[^}}]*\}} (\S+)$', text, re.MULTILINE)
        return int(sum(float(each) for each in lines))


@contextlib.asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[ApiServer]:
    """Connects as the administrator that the kubeconfig is for."""
    configuration = client.Configuration()
    await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    context = client.rest.RESTClientObject(configuration).ssl_context
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=0)) as http:
        yield ApiServer(http, configuration.host)


@contextlib.contextmanager
def running_service(kubeconfig: Path, log: Path) -> Iterator[Replica]:
    """Starts one replica and ends it."""
    port, health_port = free_port(), free_port()
    environment = {
        "NAMESPACE": NAMESPACE,
        "KUBECONFIG": str(kubeconfig),
        "LIVEKIT_URL": "ws://127.0.0.1:9",
        "LIVEKIT_PUBLIC_URL": "wss://livekit.example.com",
        "LIVEKIT_API_KEY": KEY,
        "LIVEKIT_API_SECRET": SECRET,
        "INSTALLATION_KEY_FILE": str(write_installation_key(log.parent)),
        "AUTH_MODE": "none",
        "RATE_LIMIT_PER_ADDRESS": "0",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "HEALTH_PORT": str(health_port),
    }
    with running([sys.executable, "-m", "token_service"], log, environment) as process:
        yield Replica(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{health_port}", process)


async def send_at_rate(
    what: Callable[[], Awaitable[None]], rate: float, seconds: float, measured: Measured, progress: Progress
) -> None:
    """Starts `what` at even times whether or not earlier ones are done; adds their milliseconds to `measured`."""
    count = round(rate * seconds)
    began = time.perf_counter()

    async def send(planned: float) -> None:
        try:
            async with asyncio.timeout(10):
                await what()
            measured.millis.append((time.perf_counter() - planned) * 1000)
        except (aiohttp.ClientError, RuntimeError, TimeoutError) as error:
            measured.failures.append(f"{type(error).__name__}: {error}")

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            planned = began + number / rate
            await asyncio.sleep(planned - time.perf_counter())
            group.create_task(send(planned))
            progress.at(len(measured.millis) + len(measured.failures))
    measured.seconds += time.perf_counter() - began
    progress.at(len(measured.millis) + len(measured.failures))


def sign_room_started() -> tuple[bytes, dict[str, str]]:
    """Returns body and headers of LiveKit's webhook for a room that started now with a ticket of ours."""
    now = clock.now()
    room = new_room_name()
    event = {
        "event": "room_started",
        "id": f"EV_{secrets.token_hex(6)}",
        "createdAt": str(int(now.timestamp())),
        "room": {
            "sid": f"RM_{secrets.token_hex(6)}",
            "name": room,
            "metadata": sign_ticket(room, participant_identity="customer"),
            "creationTimeMs": str(int(now.timestamp() * 1000)),
        },
    }
    body = json.dumps(event).encode()
    claims = {
        "iss": KEY,
        "exp": now + timedelta(minutes=5),
        "sha256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
    }
    return body, {"Authorization": jwt.encode(claims, SECRET, "HS256"), "Content-Type": "application/webhook+json"}


async def measure(kubeconfig: Path, rate: float, seconds: float, room_rate: float, room_seconds: float) -> int:
    """Runs both parts against one replica and prints what came of them."""
    tokens, rooms, bare = Measured(), Measured(), Measured()
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(connected(kubeconfig))
        await api.create(AGENT_POOLS, named("AgentPool", POOL))
        await api.create(AGENT_PROFILES, named("AgentProfile", {"pool": "default"}))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-tokens-")))
        log = folder / "token_service.log"
        replica = stack.enter_context(running_service(kubeconfig, log))
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        await until_ready(http, f"{replica.health}/readyz", replica.process, log)

        async def ask_for_token() -> None:
            async with http.post(f"{replica.door}/api/token", json={}) as answer:
                if answer.status != 201:
                    raise RuntimeError(f"{answer.status}: {await answer.text()}")
                await answer.read()

        async def start_room() -> None:
            body, headers = sign_room_started()
            async with http.post(f"{replica.door}/livekit/webhook", data=body, headers=headers) as answer:
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status}: {await answer.text()}")

        async def create_session() -> None:
            name = f"bare-{secrets.token_hex(8)}"
            ticket = new_ticket("default", participant_identity="customer")
            await api.create(VOICE_SESSIONS, build_voice_session(name, new_room_name(), f"RM_{name}", ticket))

        # Connections are opened and code is warm before the clock runs, as behind a Service in use.
        for _ in range(50):
            await ask_for_token()
        before, cpu = await api.count_requests(), cpu_seconds(replica.process.pid)
        await send_at_rate(ask_for_token, rate, seconds, tokens, Progress("tokens", round(rate * seconds)))
        api_requests, cpu = await api.count_requests() - before, cpu_seconds(replica.process.pid) - cpu

        progress = [Progress(what, round(room_rate * room_seconds)) for what in ("room starts", "bare creations")]
        for _ in range(5):
            await start_room()
            await create_session()
        for _ in range(TURNS):
            await send_at_rate(start_room, room_rate, room_seconds / TURNS, rooms, progress[0])
            await send_at_rate(create_session, room_rate, room_seconds / TURNS, bare, progress[1])
    return report(tokens, rooms, bare, api_requests, cpu)


def named(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Returns one of our objects, named `default`."""
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "default"}, "spec": spec}


def report(tokens: Measured, rooms: Measured, bare: Measured, api_requests: int, cpu_seconds: float) -> int:
    """Prints the table, what failed, and the last line; returns 1 where a request failed."""
    rows = {
        "token request → token": tokens.millis,
        "webhook → VoiceSession created": rooms.millis,
        "bare POST of a VoiceSession": bare.millis,
    }
    print_table("The token service, one replica", rows)
    failures = tokens.failures + rooms.failures + bare.failures
    for failure in failures[:5]:
        print(f"  failed: {failure}")
    session_p99, bare_p99 = percentile(rooms.millis, 0.99), percentile(bare.millis, 0.99)
    print_result(
        {
            "tokens_per_s": len(tokens.millis) / tokens.seconds,
            "token_p99_ms": percentile(tokens.millis, 0.99),
            "api_requests": api_requests,
            "rooms_per_s": len(rooms.millis) / rooms.seconds,
            "session_p99_ms": session_p99,
            "session_ratio": session_p99 / bare_p99,
            "token_cpu_ms": cpu_seconds * 1000 / (len(tokens.millis) + len(tokens.failures)),
            "token_p50_ms": percentile(tokens.millis, 0.5),
            "session_p50_ms": percentile(rooms.millis, 0.5),
            "bare_p50_ms": percentile(bare.millis, 0.5),
            "bare_p99_ms": bare_p99,
            "failures": len(failures),
        }
    )
    return 1 if failures else 0


def main() -> int:
    """Runs the benchmark; returns 1 where a request failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokens", description=__doc__)
    parser.add_argument("--rate", type=float, default=300, help="token requests a second (default 300)")
    parser.add_argument("--seconds", type=float, default=30, help="for how long (default 30)")
    parser.add_argument("--room-rate", type=float, default=20, help="room starts a second (default 20)")
    parser.add_argument("--room-seconds", type=float, default=30, help="for how long (default 30)")
    arguments = parser.parse_args()
    print("Starting an API server (its first build takes minutes) and one token service", flush=True)
    with running_apiserver() as kubeconfig:
        apply_crds(kubeconfig)
        return asyncio.run(
            measure(kubeconfig, arguments.rate, arguments.seconds, arguments.room_rate, arguments.room_seconds)
        )


if __name__ == "__main__":
    sys.exit(main())
