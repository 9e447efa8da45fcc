"""What of a job is made without a room."""

import sys

import pytest

from voice_agent.job_context import CodeExitedError, build_job_process, call_their_code


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
