"""The token service as the process that the chart starts."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from local_cluster.ports import LOOPBACK, LOOPBACK_6, free_port
from testing.code_path import PYTHONPATH
from testing.livekit import KEY, SECRET
from testing.tickets import write_installation_key
from testing.waiting import eventually

SETTINGS = {
    "LIVEKIT_URL": "ws://127.0.0.1:9",
    "LIVEKIT_PUBLIC_URL": "wss://livekit.example.com",
    "LIVEKIT_API_KEY": KEY,
    "LIVEKIT_API_SECRET": SECRET,
    "AUTH_MODE": "none",
    "TENANT_MAX_SESSIONS": "",
    "HOST": "127.0.0.1",
}


@dataclass
class Process:
    """The started process and where it listens."""

    process: asyncio.subprocess.Process
    door: str
    health: str

    async def end(self) -> tuple[int, str]:
        """Waits for its end; returns exit code and log."""
        async with asyncio.timeout(60):
            _, errors = await self.process.communicate()
        return self.process.returncode or 0, errors.decode()


@contextlib.asynccontextmanager
async def started(settings: Mapping[str, str]) -> AsyncIterator[Process]:
    port, health_port = free_port(), free_port()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH}
    with tempfile.TemporaryDirectory(prefix="vac-door-") as folder:
        environment["INSTALLATION_KEY_FILE"] = str(write_installation_key(Path(folder)))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "token_service"),
            env={**environment, **settings, "PORT": str(port), "HEALTH_PORT": str(health_port)},
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield Process(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{health_port}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def read(url: str) -> tuple[int, str]:
    """Returns status and text."""
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, await answer.text()


async def until_answered(url: str, status: int, seconds: float = 60) -> None:
    """Waits until somebody listens there, and answers with this status."""

    async def answered() -> bool:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            return (await read(url))[0] == status
        return False

    await eventually(answered, seconds, f"{status} from {url}")


async def test_it_serves_is_ready_and_ends_in_good_order(api_server: Path) -> None:
    async with started({**SETTINGS, "KUBECONFIG": str(api_server), "HOST": ""}) as process:
        await until_answered(f"{process.health}/readyz", 200)
        assert (await read(f"{process.health}/healthz"))[0] == 200
        status, _ = await read(f"{process.door}/api/profiles")
        assert status == 200
        for url in (f"{process.door}/openapi.json", f"{process.health}/readyz"):
            assert (await read(url.replace(LOOPBACK, f"[{LOOPBACK_6}]")))[0] == 200
        status, metrics = await read(f"{process.health}/metrics")
        labels = 'method="GET",route="/api/profiles",status="200"'
        assert f"voice_token_service_request_seconds_count{{{labels}}} 1.0" in metrics
        assert 'voice_token_service_kubernetes_requests_total{method="GET",status="200"}' in metrics
        assert 'voice_token_service_cached_objects{kind="voicesessions"}' in metrics
        assert (await read(f"{process.door}/metrics"))[0] == 404
        process.process.send_signal(signal.SIGTERM)
        await until_answered(f"{process.health}/readyz", 503, 3)
        # Callers who have not heard of it yet are still served.
        assert (await read(f"{process.door}/api/profiles"))[0] == 200
        code, log = await process.end()
    assert code == 0, log
    lines = [json.loads(line) for line in log.splitlines()]
    assert any("ANYBODY" in line["message"] for line in lines)
    answered = [line for line in lines if line["message"] == "request answered" and line["route"] == "/api/profiles"]
    assert [(line["status"], bool(line["requestId"])) for line in answered] == [(200, True), (200, True)]
    assert SECRET not in log


async def test_without_an_api_server_it_lives_but_is_not_ready(api_server: Path, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "nowhere"
    text = api_server.read_text()  # noqa: ASYNC240 - a small file of a test
    server = next(line for line in text.splitlines() if "server:" in line)
    kubeconfig.write_text(text.replace(server, server[: server.index("https")] + "https://127.0.0.1:9"))
    async with started({**SETTINGS, "KUBECONFIG": str(kubeconfig)}) as process:
        await until_answered(f"{process.health}/healthz", 200)
        assert (await read(f"{process.health}/readyz"))[0] == 503
        process.process.terminate()
        code, log = await process.end()
    assert code == 0, log


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"LIVEKIT_API_SECRET": ""}, "LIVEKIT_API_SECRET"),
        ({"AUTH_MODE": "password"}, "AUTH_MODE"),
        ({"AUTH_MODE": "api-key"}, "API_KEYS_FILE"),
        ({"AUTH_MODE": "api-key", "API_KEYS_FILE": "/nowhere"}, "/nowhere"),
        ({"TOKEN_LIFETIME_SECONDS": "600"}, "MAX_TICKET_AGE_SECONDS"),
        ({"AUTH_MODE": "oidc", "OIDC_ISSUER": "https://login.example.com"}, "OIDC_AUDIENCE"),
        ({"OIDC_ALGORITHMS": "RS256,HS256"}, "HS256"),
        ({"TRUSTED_PROXIES": "10.0.0.1/8"}, "TRUSTED_PROXIES"),
        ({"MAX_STARTS_PER_CALL": "many"}, "MAX_STARTS_PER_CALL"),
    ],
)
async def test_wrong_settings_are_one_clear_line(changes: dict[str, str], words: str) -> None:
    async with started({**SETTINGS, **changes}) as process:
        code, log = await process.end()
    assert code == 2
    assert words in log
    assert len(log.splitlines()) == 1
    assert SECRET not in log
