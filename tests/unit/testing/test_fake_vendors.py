"""The vendors of tests: they hear what has ended, speak what they are given, and stand where the real ones do."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from testing.company_network import company_network
from testing.fake_openai import FakeOpenAI
from testing.fake_vendors import HOSTS, PAUSE_SECONDS, Ears, FakeVendors
from testing.sound import build_murmur
from testing.web_server import serving

SILENCE = bytes(2 * int(16_000 * PAUSE_SECONDS))


@pytest.fixture
def fake() -> FakeOpenAI:
    """Where words come from, and go to."""
    return FakeOpenAI()


@pytest.fixture
async def session(fake: FakeOpenAI, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """One of a program that knows the proxy and the authority, and nothing else."""
    async with serving(FakeVendors(fake).build_app()) as port, company_network(port, tmp_path, HOSTS) as network:
        context = ssl.create_default_context(cafile=network.environment["SSL_CERT_FILE"])
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(proxy=network.environment["HTTPS_PROXY"], connector=connector) as made:
            yield made


def test_what_is_heard_has_ended(fake: FakeOpenAI) -> None:
    fake.transcripts.append("Good day.")
    ears = Ears(fake)
    assert ears.hear(SILENCE) == ""
    assert ears.hear(build_murmur(0.1)) == ""
    assert ears.hear(SILENCE[:100]) == ""
    assert ears.hear(SILENCE) == "Good day."
    assert ears.hear(SILENCE) == ""


async def test_one_that_hears(fake: FakeOpenAI, session: aiohttp.ClientSession) -> None:
    fake.transcripts.append("Good day.")
    async with session.ws_connect("wss://api.deepgram.com/v1/listen?sample_rate=16000") as socket:
        await socket.send_bytes(build_murmur(0.1))
        await socket.send_bytes(SILENCE)
        heard = await socket.receive_json(timeout=10)
    assert heard["channel"]["alternatives"][0]["transcript"] == "Good day."


async def test_one_that_hears_turns(fake: FakeOpenAI, session: aiohttp.ClientSession) -> None:
    fake.transcripts.append("Good day.")
    async with session.ws_connect("wss://api.cartesia.ai/stt/turns/websocket?model=ink-2") as socket:
        await socket.send_bytes(build_murmur(0.1))
        await socket.send_bytes(SILENCE)
        heard = [await socket.receive_json(timeout=10) for _ in range(3)]
    assert [each["type"] for each in heard] == ["connected", "turn.start", "turn.end"]
    assert heard[-1]["transcript"] == "Good day."


async def test_one_that_speaks(fake: FakeOpenAI, session: aiohttp.ClientSession) -> None:
    async with session.ws_connect("wss://api.cartesia.ai/tts/websocket") as socket:
        await socket.send_json({"context_id": "c", "transcript": "Good day.", "continue": False})
        chunk, done = [await socket.receive_json(timeout=10) for _ in range(2)]
    assert len(base64.b64decode(chunk["data"])) > 1000
    assert done == {"context_id": "c", "type": "done", "done": True}
    assert fake.spoken == ["Good day."]


async def test_one_that_answers(session: aiohttp.ClientSession) -> None:
    url = "https://generativelanguage.googleapis.com/v1beta/models/gemini:streamGenerateContent?alt=sse"
    asked = {"contents": [{"role": "user", "parts": [{"text": "Good day."}]}]}
    async with session.post(url, json=asked) as answer:
        assert "You said: Good day." in await answer.text()


async def test_the_test_s_own_servers_are_near(fake: FakeOpenAI, session: aiohttp.ClientSession) -> None:
    async with serving(fake.build_app()) as port, session.ws_connect(f"ws://127.0.0.1:{port}/v1/realtime") as socket:
        assert (await socket.receive_json(timeout=10))["type"] == "session.created"


async def test_others_are_away(session: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.ClientHttpProxyError):
        async with asyncio.timeout(10):
            await session.get("https://cal.com/")
