"""Log lines: JSON, whose call, and neither keys nor words."""

import json
import logging
import sys
from typing import Any

import pytest

from voice_agent.logs import JsonFormatter


def record(
    name: str, message: str, *args: object, path: str = "/app/voice_agent/call.py", **extra: Any
) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, path, 1, message, args, None)
    made.__dict__.update(extra)
    return made


def as_json(line: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_line_is_json_with_its_context() -> None:
    formatter = JsonFormatter()
    formatter.context["session"] = "uid-1"
    line = as_json(formatter.format(record("voice_agent.call", "the call ends: %s", "idle", room="r1")))
    assert line["message"] == "the call ends: idle"
    assert line["level"] == "warning"
    assert line["session"] == "uid-1"
    assert line["room"] == "r1"


def test_keys_do_not_show() -> None:
    formatter = JsonFormatter()
    formatter.secrets.add("sk-very-secret")
    assert "sk-very-secret" not in formatter.format(record("acme", "calling with sk-very-secret"))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("livekit.agents", "/opt/venv/livekit/agents/tts/tts.py"),
        ("asyncio", "/usr/lib/python3.12/asyncio/base_events.py"),
        ("root", "/opt/venv/lib/python3.12/site-packages/livekit/rtc/room.py"),
    ],
)
def test_the_frameworks_texts_end_where_they_may_quote(name: str, path: str) -> None:
    said = "no audio frames were pushed for text: my card is 4711"
    line = JsonFormatter().format(record(name, "%s", said, path=path, transcript="my card is 4711"))
    assert as_json(line)["message"] == "no audio frames were pushed for text"
    assert "4711" not in line


def failing() -> None:
    raise ValueError("my card is 4711")


@pytest.mark.parametrize(("name", "quoted"), [("livekit.agents", False), ("asyncio", False), ("acme", True)])
def test_an_error_says_where_and_only_ours_what(name: str, quoted: bool) -> None:
    made = record(name, "failed")
    try:
        failing()
    except ValueError:
        made.exc_info = sys.exc_info()
    line = as_json(JsonFormatter().format(made))
    assert line["error"] == "ValueError"
    assert line["at"][-1].endswith("failing")
    assert ("error_message" in line) is quoted
