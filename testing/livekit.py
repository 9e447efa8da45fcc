"""A real LiveKit server for tests: on loopback, with keys of its own, gone afterwards."""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from livekit import api

from local_cluster.binaries import LIVEKIT, ensure
from local_cluster.ports import LOOPBACK, at, free_port, listens
from testing.waiting import eventually_sync, stays, until_started
from voicesession.names import AGENT_IDENTITY

READY_SECONDS = 20.0
KEY = "devkey"
SECRET = "a-secret-for-tests-of-at-least-32-bytes"


@dataclass(frozen=True)
class LiveKitServer:
    """A running server, and tokens for it."""

    port: int
    log: Path = field(default=Path(os.devnull))
    address: str = LOOPBACK

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"ws://{at(self.address, self.port)}"

    def agent_token(self, room: str, lifetime: timedelta = timedelta(minutes=1)) -> str:
        """Returns a token as the operator makes them for agent pods."""
        grants = api.VideoGrants(room_join=True, room=room, agent=True, can_update_own_metadata=True)
        return self._token(AGENT_IDENTITY, "agent", grants, lifetime)

    def customer_token(self, room: str, identity: str = "customer") -> str:
        """Returns a customer's token for one room."""
        return self._token(identity, "standard", api.VideoGrants(room_join=True, room=room), timedelta(minutes=10))

    def other_agent_token(self, room: str, identity: str, **attributes: str) -> str:
        """Returns a token as LiveKit gives them to the jobs of ordinary workers."""
        grants = api.VideoGrants(room_join=True, room=room, agent=True)
        return self._token(identity, "agent", grants, timedelta(minutes=10), attributes)

    def client(self) -> api.LiveKitAPI:
        """Returns a client of the server's API; use it as a context manager."""
        return api.LiveKitAPI(self.url, KEY, SECRET)

    async def is_empty(self, room: str) -> bool:
        """Tells whether nobody is in the room, or there is none."""
        async with self.client() as client:
            return not (await client.room.list_participants(api.ListParticipantsRequest(room=room))).participants

    async def present(self, room: str) -> set[str]:
        """Returns the identities of those who are in the room, and whose connection is complete."""
        async with self.client() as client:
            answer = await client.room.list_participants(api.ListParticipantsRequest(room=room))
        return {each.identity for each in answer.participants if each.state == api.ParticipantInfo.State.ACTIVE}

    async def sid_of(self, room: str) -> str | None:
        """Returns the sid that the room has now; None where there is none."""
        async with self.client() as client:
            rooms = (await client.room.list_rooms(api.ListRoomsRequest(names=[room]))).rooms
        return next((each.sid for each in rooms), None)

    async def delete_rooms(self) -> None:
        """Deletes all rooms."""
        async with self.client() as client:
            for room in (await client.room.list_rooms(api.ListRoomsRequest())).rooms:
                await client.room.delete_room(api.DeleteRoomRequest(room=room.name))

    def _token(
        self,
        identity: str,
        kind: api.AccessToken.ParticipantKind,
        grants: api.VideoGrants,
        lifetime: timedelta,
        attributes: dict[str, str] | None = None,
    ) -> str:
        token = api.AccessToken(KEY, SECRET).with_identity(identity).with_kind(kind)
        return token.with_attributes(attributes or {}).with_grants(grants).with_ttl(lifetime).to_jwt()


def find_program() -> Path:
    """Returns `$LIVEKIT_SERVER`, or the local cluster's own build (made once, in 5 minutes)."""
    if given := os.environ.get("LIVEKIT_SERVER"):
        return Path(given)
    ensure([LIVEKIT])
    return LIVEKIT.path()


class LiveKitProcess:
    """A server's process, which may be killed, told to stop, and started again with the same address and keys."""

    def __init__(self, folder: Path, webhook_urls: Sequence[str], address: str) -> None:
        """Starts nothing yet. `folder`: for its configuration and its log. `address`: where it listens."""
        self.server = LiveKitServer(free_port(), folder / "log", address)
        self._config = folder / "livekit.yaml"
        self._webhook = f"webhook: {{api_key: {KEY}, urls: {json.dumps(webhook_urls)}}}\n" if webhook_urls else ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; returns when it answers, after about 1 s."""
        # Media gets new ports each time: while it was down, somebody may have taken one.
        self._config.write_text(
            f"port: {self.server.port}\n"
            f'bind_addresses: ["{self.server.address}"]\n'
            f"rtc: {{tcp_port: {free_port()}, udp_port: {free_port(socket.SOCK_DGRAM)}, use_external_ip: false,"
            f' node_ip: "{self.server.address}", enable_loopback_candidate: true}}\n'
            f"keys: {{{KEY}: {SECRET}}}\n"
            f"{self._webhook}"
            f"logging: {{level: warn}}\n"
        )
        command = ["setpriv", "--pdeathsig", "KILL", "--", str(find_program()), "--config", str(self._config)]
        with self.server.log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        until_started(self._process, self.listens, self.server.log, READY_SECONDS)

    def listens(self) -> bool:
        """Tells whether it takes connections."""
        return listens(self.server.port, self.server.address)

    def kill(self) -> None:
        """Ends it without a word to anybody."""
        if self._process:
            self._process.kill()
            self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Has it do nothing for a while: its connections stay open and carry nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ends it in good order and at once: it takes leave of everybody, so that their libraries do not come back.

        Told only once, it would wait until nobody is in a room any more.
        """
        try:
            eventually_sync(self._has_obeyed, seconds=10, pace=0.1)
        except TimeoutError:
            self.kill()

    async def restart(self, seconds_down: float) -> None:
        """Kills it, and starts it again after a while."""
        await asyncio.to_thread(self.kill)
        await stays(lambda: not self.listens(), seconds_down, "somebody else listens at LiveKit's port")
        await asyncio.to_thread(self.start)

    def _has_obeyed(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return True
        self._process.terminate()
        return False


@contextmanager
def restartable_livekit(*webhook_urls: str, address: str = LOOPBACK) -> Iterator[LiveKitProcess]:
    """Starts a server, which tells its events to all `webhook_urls`; ends it afterwards."""
    with tempfile.TemporaryDirectory(prefix="vac-livekit-") as folder:
        process = LiveKitProcess(Path(folder), webhook_urls, address)
        process.start()
        try:
            yield process
        finally:
            process.stop()


@contextmanager
def running_livekit(*webhook_urls: str, address: str = LOOPBACK) -> Iterator[LiveKitServer]:
    """As `restartable_livekit`, for whom the server is enough."""
    with restartable_livekit(*webhook_urls, address=address) as process:
        yield process.server


def new_room() -> str:
    """Returns a room name that no other test has."""
    return f"room-{secrets.token_hex(8)}"
