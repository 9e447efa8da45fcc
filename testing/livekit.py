"""A real LiveKit server for tests: on loopback, with keys of its own, gone afterwards."""

import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from livekit import api

from local_cluster.binaries import LIVEKIT, ensure
from testing.ports import LOOPBACK, free_port, listens
from testing.waiting import until_started
from voicesession.names import AGENT_IDENTITY

READY_SECONDS = 20.0
KEY = "devkey"
SECRET = "a-secret-for-tests-of-at-least-32-bytes"


@dataclass(frozen=True)
class LiveKitServer:
    """A running server, and tokens for it."""

    port: int
    log: Path = field(default=Path(os.devnull))

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"ws://{LOOPBACK}:{self.port}"

    def agent_token(self, room: str, lifetime: timedelta = timedelta(minutes=1)) -> str:
        """Returns a token as the operator makes them for agent pods."""
        grants = api.VideoGrants(room_join=True, room=room, agent=True, can_update_own_metadata=True)
        return self._token(AGENT_IDENTITY, "agent", grants, lifetime)

    def customer_token(self, room: str, identity: str = "customer") -> str:
        """Returns a customer's token for one room."""
        return self._token(identity, "standard", api.VideoGrants(room_join=True, room=room), timedelta(minutes=10))

    def client(self) -> api.LiveKitAPI:
        """Returns a client of the server's API; use it as a context manager."""
        return api.LiveKitAPI(f"http://{LOOPBACK}:{self.port}", KEY, SECRET)

    async def is_empty(self, room: str) -> bool:
        """Tells whether nobody is in the room, or there is none."""
        async with self.client() as client:
            return not (await client.room.list_participants(api.ListParticipantsRequest(room=room))).participants

    async def delete_rooms(self) -> None:
        """Deletes all rooms."""
        async with self.client() as client:
            for room in (await client.room.list_rooms(api.ListRoomsRequest())).rooms:
                await client.room.delete_room(api.DeleteRoomRequest(room=room.name))

    def _token(
        self, identity: str, kind: api.AccessToken.ParticipantKind, grants: api.VideoGrants, lifetime: timedelta
    ) -> str:
        token = api.AccessToken(KEY, SECRET).with_identity(identity).with_kind(kind)
        return token.with_grants(grants).with_ttl(lifetime).to_jwt()


def find_program() -> Path:
    """Returns `$LIVEKIT_SERVER`, or the local cluster's own build (made once, in 5 minutes)."""
    if given := os.environ.get("LIVEKIT_SERVER"):
        return Path(given)
    ensure([LIVEKIT])
    return LIVEKIT.path()


@contextmanager
def running_livekit(webhook_url: str | None = None) -> Iterator[LiveKitServer]:
    """Starts a server (about 1 s), which tells `webhook_url` its events; ends it afterwards."""
    webhook = f'webhook: {{api_key: {KEY}, urls: ["{webhook_url}"]}}\n' if webhook_url else ""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="vac-livekit-") as folder:
        config = Path(folder) / "livekit.yaml"
        config.write_text(
            f"port: {port}\n"
            f'bind_addresses: ["{LOOPBACK}"]\n'
            f"rtc: {{tcp_port: {free_port()}, udp_port: {free_port(socket.SOCK_DGRAM)}, use_external_ip: false,"
            f" node_ip: {LOOPBACK}, enable_loopback_candidate: true}}\n"
            f"keys: {{{KEY}: {SECRET}}}\n"
            f"{webhook}"
            f"logging: {{level: warn}}\n"
        )
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", str(find_program()), "--config", str(config)],
                stdout=output,
                stderr=output,
            )
        try:
            until_started(process, lambda: listens(port), log, READY_SECONDS)
            yield LiveKitServer(port, log)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def new_room() -> str:
    """Returns a room name that no other test has."""
    return f"room-{secrets.token_hex(8)}"
