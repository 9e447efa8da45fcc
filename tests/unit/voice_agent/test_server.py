"""A pod takes the body of a request only from the operator, and waits for it for a while only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from local_cluster.ports import LOOPBACK
from testing.web_server import serving
from voice_agent import server
from voice_agent.pod import Pod
from voice_agent.server import PodServer
from voicesession.assignment import EndRequest
from voicesession.models import EndReason
from voicesession.pod_seal import SEALED, new_pod_key, seal
from voicesession.pod_tokens import Purpose, public_key_pem, sign_pod_request

KEY = Ed25519PrivateKey.generate()
UID = "pod-uid"
BODY = b"{}"
SEAL_KEY = new_pod_key()
# For an answer that comes at once, on a busy machine.
PATIENCE_SECONDS = 8.0


class Untouched:
    """A pod that nothing must be asked of."""

    def end(self, request: EndRequest) -> None:
        raise AssertionError(request)


class Ending(Untouched):
    """A pod that may be asked to end."""

    def __init__(self) -> None:
        self.asked: list[EndRequest] = []

    def end(self, request: EndRequest) -> None:
        self.asked.append(request)


@pytest.mark.parametrize(
    ("key", "status", "asked"),
    [(SEAL_KEY, 202, ["ended_by_request"]), (new_pod_key(), 401, []), (None, 202, ["ended_by_request"])],
    ids=["its own", "another's", "none"],
)
async def test_a_pod_opens_what_is_sealed_for_it_and_takes_what_an_older_operator_says_openly(
    key: str | None, status: int, asked: list[str]
) -> None:
    body, content_type = EndRequest(reason=EndReason.ENDED_BY_REQUEST).model_dump_json(by_alias=True).encode(), ""
    if key:
        body, content_type = seal(key, UID, Purpose.END, body), SEALED
    headers = {"Authorization": f"Bearer {sign_pod_request(KEY, UID, Purpose.END, body)}", "Content-Type": content_type}
    pod = Ending()
    app = PodServer(cast(Pod, pod), public_key_pem(KEY), UID, SecretStr(SEAL_KEY)).build_app()
    async with (
        serving(app) as port,
        ClientSession() as http,
        http.post(f"http://{LOOPBACK}:{port}/end", data=body, headers=headers) as answer,
    ):
        assert answer.status == status
    assert [request.reason for request in pod.asked] == asked


@asynccontextmanager
async def asking(token: str) -> AsyncIterator[asyncio.StreamReader]:
    """Yields what is answered to a request of which no body comes."""
    app = PodServer(cast(Pod, Untouched()), public_key_pem(KEY), UID, SecretStr(SEAL_KEY)).build_app()
    async with serving(app) as port:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        head = ("POST /end HTTP/1.1", "Host: pod", f"Authorization: Bearer {token}", f"Content-Length: {len(BODY)}")
        writer.write("".join(f"{line}\r\n" for line in (*head, "")).encode())
        yield reader
        writer.close()


async def read_status(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return int((await reader.readline()).split()[1])


@pytest.mark.parametrize("purpose", [None, Purpose.ASSIGNMENT])
async def test_a_stranger_is_refused_before_their_body(purpose: Purpose | None) -> None:
    token = sign_pod_request(KEY, UID, purpose, BODY) if purpose else "abc"
    async with asking(token) as reader:
        assert await read_status(reader) == 401


async def test_a_body_that_does_not_come_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 0.05)
    async with asking(sign_pod_request(KEY, UID, Purpose.END, BODY)) as reader:
        assert await read_status(reader) == 408
