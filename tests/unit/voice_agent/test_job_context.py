"""What of a job is made without a room."""

import sys

import pytest
from livekit.api import LiveKitAPI

from voice_agent.job_context import CodeExitedError, build_job_process, call_their_code, export_room


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://a:3128"}, "http://a:3128"),
        ({"HTTP_PROXY": "http://a:3128", "HTTPS_PROXY": "http://b:3128"}, "http://b:3128"),
    ],
)
def test_plugins_find_the_proxy_that_a_worker_would_give_them(
    environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert build_job_process().http_proxy == proxy


async def test_code_that_exits_ends_no_process() -> None:
    async def leave(_: str) -> None:
        sys.exit(3)

    with pytest.raises(CodeExitedError, match=r"sys\.exit\(3\)"):
        await call_their_code(leave, "idle")


async def test_a_client_that_code_makes_itself_speaks_for_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIVEKIT_URL", "LIVEKIT_TOKEN", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    with pytest.raises(ValueError, match="url must be set"):
        LiveKitAPI()
    export_room("ws://livekit:7880", "the agent's token")
    async with LiveKitAPI() as client:
        assert client.room._token == "the agent's token"
