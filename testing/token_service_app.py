"""The token service's real application on loopback, and what callers of it need in tests."""

import asyncio
import base64
import contextlib
import hashlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import jwt

from conversations.viewer import ConversationViewer
from rooms.client import RoomClient
from rooms.tokens import RoomTokens
from testing.livekit import KEY, SECRET
from testing.tickets import TICKETS
from testing.waiting import eventually
from token_service.app import build_app
from token_service.authenticators import build_authenticator
from token_service.cache import Cache
from token_service.http_servers import build_server
from token_service.rate_limits import build_rate_limits
from token_service.service import Cluster, Service, TranscriptSource
from token_service.settings import TokenServiceSettings
from voicesession import clock
from voicesession.tickets import TicketKey

# Nobody listens there.
NOBODY = "ws://127.0.0.1:9"
PUBLIC_URL = "wss://livekit.example.com"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read whole. `body`: parsed JSON, or the text."""

    status: int
    headers: dict[str, str]
    body: Any = field(repr=False)


@dataclass(frozen=True)
class FrontDoor:
    """A running token service."""

    url: str
    service: Service
    http: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: Any = None, bearer: str | None = None, **more: Any) -> Answer:
        """Sends one request; `body` as JSON."""
        headers = {**more.pop("headers", {})}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        if body is not None:
            more["json"] = body
        async with self.http.request(method, self.url + path, headers=headers, **more) as answer:
            text = await answer.text()
            parsed = json.loads(text) if "json" in answer.content_type else text
            return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, parsed)

    async def webhook(self, event: dict[str, Any], **signing: Any) -> Answer:
        """Sends an event as LiveKit does, signed with `sign_webhook`'s arguments."""
        text = json.dumps(event)
        headers = {"Authorization": sign_webhook(text, **signing), "Content-Type": "application/webhook+json"}
        return await self.call("POST", "/livekit/webhook", data=text, headers=headers)


def check_problem(answer: Answer, status: int, kind: str) -> dict[str, Any]:
    """Checks RFC 9457's form and returns the details."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.body["type"] == f"urn:problem-type:{kind}"
    assert answer.body["status"] == status
    assert answer.body["title"]
    assert answer.body["detail"]
    assert answer.body["requestId"] == answer.headers["x-request-id"]
    if "retry-after" in answer.headers:
        assert answer.body["retryAfterSeconds"] == int(answer.headers["retry-after"])
    details: dict[str, Any] = answer.body
    return details


def sign_webhook(body: str, secret: str = SECRET, key: str = KEY, lifetime: timedelta = timedelta(minutes=5)) -> str:
    """Returns the Authorization header that LiveKit sends with this body."""
    digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    now = clock.now()
    return jwt.encode({"iss": key, "nbf": now, "exp": now + lifetime, "sha256": digest}, secret, "HS256")


def room_event(
    name: str,
    sid: str,
    metadata: str,
    *,
    event: str = "room_started",
    created_at: datetime | None = None,
    identity: str | None = None,
) -> dict[str, Any]:
    """Returns LiveKit's webhook for a room."""
    at = created_at or clock.now()
    room = {
        "sid": sid,
        "name": name,
        "metadata": metadata,
        "creationTime": str(int(at.timestamp())),
        "creationTimeMs": str(int(at.timestamp() * 1000)),
    }
    body: dict[str, Any] = {
        "event": event,
        "room": room,
        "id": f"EV_{sid}_{event}",
        "createdAt": str(int(at.timestamp())),
    }
    if identity:
        body["participant"] = {"sid": "PA_x", "identity": identity, "kind": "STANDARD"}
    return body


def read_token(token: str) -> dict[str, Any]:
    """Returns a signed token's claims, its signature checked."""
    claims: dict[str, Any] = jwt.decode(token, SECRET, ["HS256"], issuer=KEY)
    return claims


def resign(token: str, secret: str = SECRET, **changes: Any) -> str:
    """Returns the token with other claims, signed anew."""
    claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.encode({**claims, **changes}, secret, "HS256")


def room_of(token: str) -> str:
    """Returns the room that a token is for."""
    return str(read_token(token)["video"]["room"])


def ticket_of(token: str) -> str:
    """Returns the room metadata that a token carries."""
    return str(read_token(token)["roomConfig"]["metadata"])


def build_settings(**fields: Any) -> TokenServiceSettings:
    """Returns settings for tests: nobody is asked for a key, and LiveKit is nowhere, unless `fields` says otherwise."""
    given = {
        "livekit_url": NOBODY,
        "livekit_public_url": PUBLIC_URL,
        "livekit_api_key": KEY,
        "livekit_api_secret": SECRET,
        "installation_key_file": "unread: the service is given the key",
        "auth_mode": "none",
        **fields,
    }
    return TokenServiceSettings.model_validate(given)


@contextlib.asynccontextmanager
async def running_front_door(
    cluster: Cluster,
    transcripts: TranscriptSource | None = None,
    port: int = 0,
    wait: bool = True,
    tickets: TicketKey = TICKETS,
    **settings: Any,
) -> AsyncIterator[FrontDoor]:
    """Serves the application on loopback until the block ends; knows the cluster's objects, if it had to `wait`."""
    async with contextlib.AsyncExitStack() as stack:
        configured = build_settings(**settings)
        rooms = RoomClient(configured.livekit_url, KEY, SECRET)
        stack.push_async_callback(rooms.close)
        cache = Cache()
        tokens, authenticator = RoomTokens(KEY, SECRET), build_authenticator(configured)
        limits = build_rate_limits(configured)
        calls = None
        if configured.calls_page and configured.calls_database_url:
            viewer = ConversationViewer(configured.calls_database_url.get_secret_value(), 0, 2)
            calls = await stack.enter_async_context(viewer)
        service = Service(configured, cluster, cache, rooms, tokens, tickets, authenticator, limits, transcripts, calls)
        stack.push_async_callback(service.later.close)
        following = asyncio.create_task(cache.follow(cluster))
        stack.push_async_callback(_stop, following)
        stack.push_async_callback(_stop, asyncio.create_task(authenticator.follow()))
        if wait:
            await eventually(lambda: cache.synced)
        # With the protocol named, asyncio sends without delay.
        listener = socket.socket(proto=socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(100)
        server = build_server(build_app(service), "127.0.0.1", 0, configured.proxies)
        serving = asyncio.create_task(server.serve([listener]))
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)))
        yield FrontDoor(f"http://127.0.0.1:{listener.getsockname()[1]}", service, http)
        server.should_exit = True
        await serving


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
