"""Asks the token service for a room, as any LiveKit client does."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

TOKEN_SERVICE = "http://localhost:3000"


class FrontDoorError(Exception):
    """The token service refused, or could not be reached; `status` is None then."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """Keeps the HTTP status beside the message."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Connection:
    """What a client needs to join its room."""

    server_url: str
    room: str
    identity: str
    token: str


def call_service(
    method: str,
    path: str,
    body: Any = None,
    token: str | None = None,
    base: str = TOKEN_SERVICE,
    idempotency_key: str | None = None,
) -> Any:
    """Returns the JSON answer of one request to the token service.

    Raises:
        FrontDoorError: with the answer's problem details, or why there is none.
    """
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if idempotency_key:
        headers["Idempotency-Key"] = idempotency_key
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise FrontDoorError(f"{method} {path}: {error.code} {error.read().decode()[:500]}", error.code) from error
    except OSError as error:
        raise FrontDoorError(f"{method} {base}{path}: {error}") from error
    return json.loads(text) if text else None


def ask_for_connection(base: str = TOKEN_SERVICE, key: str | None = None, **fields: Any) -> Connection:
    """Creates a room and its VoiceSession at once: `POST /api/connection-details`. `key`: a tenant's API key."""
    answer = call_service("POST", "/api/connection-details", fields, token=key, base=base)
    return Connection(answer["serverUrl"], answer["roomName"], answer["participantName"], answer["participantToken"])
