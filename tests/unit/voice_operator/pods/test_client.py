"""What is read of a pod's spool, whatever a pod answers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from local_cluster.ports import LOOPBACK, LOOPBACK_6, free_port
from testing.operator_objects import make_claimed_pod
from voice_operator.pods import client
from voice_operator.pods.client import PodClient, PodRequestError
from voicesession.pod_seal import SEALED, new_pod_key
from voicesession.spool import SealedPiece, Spool

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

POD = make_claimed_pod(ip=LOOPBACK)
SPOOL = Spool(session_id="session", attempt=1, pieces=[SealedPiece(rows=2, data=b"\x00sealed")], lost=1)


@asynccontextmanager
async def answering(answer: Answer, address: str = LOOPBACK) -> AsyncIterator[PodClient]:
    """Yields a client whose pod answers so when it is asked for its spool."""
    app = web.Application()
    app.router.add_get("/spool", answer)
    async with TestServer(app, host=address) as server:
        pods = PodClient(Ed25519PrivateKey.generate(), port=server.port or 0)
        try:
            yield pods
        finally:
            await pods.close()


def say(text: str, status: int = 200) -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text, status=status, content_type="application/json")

    return answer


@pytest.mark.parametrize("address", [LOOPBACK, LOOPBACK_6])
async def test_a_spool_arrives_as_it_was_sealed(address: str) -> None:
    async with answering(say(SPOOL.model_dump_json(by_alias=True)), address) as pods:
        assert await pods.read_spool(make_claimed_pod(ip=address)) == SPOOL


async def test_a_pod_that_has_none_says_so() -> None:
    async with answering(say("{}", 404)) as pods:
        assert await pods.read_spool(POD) is None


async def test_a_process_that_is_gone_has_none() -> None:
    pods = PodClient(Ed25519PrivateKey.generate(), port=free_port())
    try:
        assert await pods.read_spool(POD) is None
    finally:
        await pods.close()


@pytest.mark.parametrize(
    "answer",
    [
        say("{}", 401),
        say('{"words": "a secret"}'),
        say('"a secret"'),
        say("a secret" * 100),
        say(SPOOL.model_copy(update={"pieces": list(SPOOL.pieces) * 9}).model_dump_json(by_alias=True)),
    ],
    ids=["refused", "other fields", "another type", "no JSON, and long", "too many pieces"],
)
async def test_what_is_no_spool_is_asked_for_again_and_not_quoted(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_LARGEST_SPOOL", 500)
    async with answering(answer) as pods:
        with pytest.raises(PodRequestError) as raised:
            await pods.read_spool(POD)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("key", [new_pod_key(), ""], ids=["a key", "none"])
async def test_whoever_has_the_pods_address_by_now_cannot_read_what_was_for_the_pod(key: str) -> None:
    seen: list[tuple[str, bytes]] = []

    async def listen(request: web.Request) -> web.Response:
        seen.append((request.content_type, await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/take-over", listen)
    async with TestServer(app) as server:
        pods = PodClient(Ed25519PrivateKey.generate(), port=server.port or 0)
        try:
            await pods.take_over(replace(POD, seal_key=key), "the-room-token", {})
        finally:
            await pods.close()
    ((content_type, body),) = seen
    # A pod of the release before has no key, and is told openly what its call still needs.
    assert (b"the-room-token" in body) == (not key)
    assert content_type == (SEALED if key else "application/json")
    assert key not in repr(replace(POD, seal_key=key)) or not key
