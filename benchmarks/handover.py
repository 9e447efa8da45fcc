"""VoiceSession created → agent joined, warm, on real pods; beside it a bare `Room.connect` from a pod, in one run.

From just before the create call until the operator heard that the agent's `Room.connect` had returned
(`status.agentJoinedAt`, by the same machine's clock): what the bare connects are timed by, and a trip more. Beside it,
from the same moment until the client of a customer who waits in the room is told that the agent is there.
"""

import argparse
import asyncio
import json
import secrets
import ssl
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime

import aiohttp
from kubernetes import client, config
from livekit import api, rtc

from benchmarks.release import run_against
from benchmarks.report import Progress, percentile, print_result, print_table
from testing.release import Release, kubeconfig_path
from voicesession import clock
from voicesession.names import AGENT_IDENTITY, API_VERSION, GROUP, VERSION, VOICE_SESSIONS

# Runs in a pod of the agent image: what LiveKit and the network cost without us.
BARE_CONNECT = """
import asyncio, json, os, sys, time
from livekit import rtc
async def main():
    for token in json.load(sys.stdin):
        room = rtc.Room()
        began = time.monotonic()
        await room.connect(os.environ["URL"], token)
        print(json.dumps((time.monotonic() - began) * 1000), flush=True)
        await room.disconnect()
        await asyncio.sleep(0.5)
asyncio.run(main())
"""


@dataclass
class Measured:
    """Milliseconds, one entry a VoiceSession. `seen`: until the waiting customer's client was told of the agent."""

    joined: list[float] = field(default_factory=list)
    create_call: list[float] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Rooms:
    """Rooms and tokens of a release's LiveKit."""

    def __init__(self, release: Release) -> None:
        """Reads the address and the credentials once."""
        self.key, self.secret = release.livekit_credentials()
        self.address = release.livekit_address()

    def token(self, room: str, identity: str, kind: api.AccessToken.ParticipantKind = "standard") -> str:
        """Returns a token for one room."""
        grants = api.VideoGrants(room_join=True, room=room, agent=kind == "agent", can_update_own_metadata=True)
        token = api.AccessToken(self.key, self.secret).with_identity(identity).with_kind(kind)
        return token.with_grants(grants).to_jwt()


class Sessions:
    """Creates and deletes VoiceSessions over one kept connection, as a controller would."""

    def __init__(self, http: aiohttp.ClientSession, server: str, namespace: str) -> None:
        """Takes an open HTTP session with the administrator's certificate."""
        self._http = http
        self._url = f"{server}/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{VOICE_SESSIONS}"

    async def create(self, name: str, room: str | None, profile: str) -> None:
        """Creates a VoiceSession for an existing room; None: for one that the operator makes."""
        spec = {"participantIdentity": "customer", "profile": profile} | ({"room": room} if room else {})
        body = {"apiVersion": API_VERSION, "kind": "VoiceSession", "metadata": {"name": name}, "spec": spec}
        async with self._http.post(self._url, json=body) as answer:
            if answer.status != 201:
                raise RuntimeError(f"create failed with {answer.status}: {await answer.text()}")

    async def read(self, name: str) -> dict[str, object]:
        """Returns the object."""
        async with self._http.get(f"{self._url}/{name}") as answer:
            found: dict[str, object] = await answer.json()
            return found

    async def delete(self, name: str) -> None:
        """Deletes it; its pod and its room go with it."""
        async with self._http.delete(f"{self._url}/{name}") as answer:
            await answer.read()


def admin_connection() -> tuple[str, ssl.SSLContext]:
    """Returns the API server's address and a TLS context with the administrator's certificate."""
    configuration = client.Configuration()
    config.load_kube_config(str(kubeconfig_path()), client_configuration=configuration)
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file is None:
        raise RuntimeError(f"{kubeconfig_path()} has no client certificate; this benchmark signs in with one")
    context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return configuration.host, context


async def hand_over_once(rooms: Rooms, sessions: Sessions, measured: Measured, profile: str = "default") -> None:
    """Lets a customer wait in a room, asks for an agent, and clocks its arrival."""
    name = f"bench-{secrets.token_hex(6)}"
    room = rtc.Room()
    arrived = asyncio.Event()
    room.on("participant_connected", lambda who: arrived.set() if who.identity == AGENT_IDENTITY else None)
    await room.connect(f"ws://{rooms.address}", rooms.token(name, "customer"))
    try:
        began_at, began = clock.now(), time.monotonic()
        await sessions.create(name, name, profile)
        created = time.monotonic()
        async with asyncio.timeout(20):
            await arrived.wait()
        measured.seen.append((time.monotonic() - began) * 1000)
        measured.create_call.append((created - began) * 1000)
        joined_at = await read_joined_at(sessions, name)
        measured.joined.append((joined_at - began_at).total_seconds() * 1000)
    except TimeoutError:
        measured.failures.append(f"{name}: no agent within 20 s: {await sessions.read(name)}")
    finally:
        await sessions.delete(name)
        await room.disconnect()


async def read_joined_at(sessions: Sessions, name: str) -> datetime:
    """Returns when the operator heard that the agent had joined.

    Raises:
        TimeoutError: it did not within 10 s.
    """
    async with asyncio.timeout(10):
        while True:
            await asyncio.sleep(1.0)
            status = (await sessions.read(name)).get("status")
            if isinstance(status, dict) and status.get("agentJoinedAt"):
                return datetime.fromisoformat(status["agentJoinedAt"])


def bare_connects(release: Release, rooms: Rooms, count: int) -> list[float]:
    """Returns the milliseconds of `count` bare `Room.connect` from a pod of the agent image."""
    pool = release.get("agentpools")["items"][0]
    name = f"bare-connect-{secrets.token_hex(3)}"
    tokens = [rooms.token(f"bare-{secrets.token_hex(6)}", AGENT_IDENTITY, "agent") for _ in range(count)]
    output = release.kubectl(
        *("run", name, "--rm", "-i", "--quiet", "--restart=Never", f"--image={pool['spec']['image']}"),
        *(f"--env=URL=ws://{rooms.address}", "--command", "--", "python", "-c", BARE_CONNECT),
        stdin=json.dumps(tokens),
        timeout=60 + 3 * count,
    )
    return [float(line) for line in output.split() if line.replace(".", "", 1).isdigit()]


async def hand_over(release: Release, count: int, interval: float) -> tuple[Measured, list[float]]:
    """Runs `count` handovers, one each `interval` seconds, with the bare connects before and after."""
    rooms = Rooms(release)
    server, context = admin_connection()
    measured = Measured()
    bare = await asyncio.to_thread(bare_connects, release, rooms, 20)
    progress = Progress("VoiceSessions", count)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
        sessions = Sessions(http, server, release.namespace)
        for number in range(1, count + 1):
            began = time.monotonic()
            await hand_over_once(rooms, sessions, measured)
            progress.at(number)
            await asyncio.sleep(max(0.0, interval - (time.monotonic() - began)))
    return measured, bare + await asyncio.to_thread(bare_connects, release, rooms, 20)


def report(measured: Measured, bare: list[float]) -> int:
    """Prints the table, what failed, and the last line; returns 1 where an agent never came."""
    rows = {
        "VoiceSession created → agent joined": measured.joined,
        "  of it: the create call": measured.create_call,
        "the same until the customer was told": measured.seen,
        "bare Room.connect from a pod": bare,
    }
    print_table("Handover, warm", rows)
    for failure in measured.failures:
        print(f"  failed: {failure}")
    print_result(
        {
            "joined_p50_ms": percentile(measured.joined, 0.5),
            "joined_p99_ms": percentile(measured.joined, 0.99),
            "bare_connect_p50_ms": percentile(bare, 0.5),
            "seen_p50_ms": percentile(measured.seen, 0.5),
            "seen_p99_ms": percentile(measured.seen, 0.99),
            "count": len(measured.joined),
            "failures": len(measured.failures),
        }
    )
    return 1 if measured.failures else 0


def main() -> int:
    """Runs the benchmark; returns 1 where an agent never came."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.handover", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="VoiceSessions (default 200)")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two (default 5)")
    parser.add_argument("--release", default="voice", help="release and namespace (default voice, as the demo's)")
    arguments = parser.parse_args()

    def measure(release: Release) -> int:
        return report(*asyncio.run(hand_over(release, arguments.count, arguments.interval)))

    return run_against(arguments.release, measure)


if __name__ == "__main__":
    sys.exit(main())
