"""A pod takes the body of a request only from the operator, and waits for it for a while only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from local_cluster.ports import LOOPBACK
from testing.web_server import serving
from voice_agent import server
from voice_agent.pod import Pod
from voice_agent.server import PodServer
from voicesession.assignment import EndRequest
from voicesession.pod_tokens import Purpose, public_key_pem, sign_pod_request

KEY = Ed25519PrivateKey.generate()
UID = "pod-uid"
BODY = b"{}"
# For an answer that comes at once, on a busy machine.
PATIENCE_SECONDS = 8.0


class Untouched:
    """A pod that nothing must be asked of."""

    def end(self, request: EndRequest) -> None:
        raise AssertionError(request)


@asynccontextmanager
async def asking(token: str) -> AsyncIterator[asyncio.StreamReader]:
    """Yields what is answered to a request of which no body comes."""
    app = PodServer(cast(Pod, Untouched()), public_key_pem(KEY), UID).build_app()
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
