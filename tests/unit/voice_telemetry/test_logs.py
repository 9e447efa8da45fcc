"""Log lines: JSON, whose call, and neither keys nor words."""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from testing.waiting import let_others_run
from voice_telemetry import logs
from voice_telemetry.logs import (
    JsonFormatter,
    SeldomWarnings,
    add_to_log_context,
    hide,
    hide_secrets,
    keep_logs,
    log_context,
    set_process_fields,
)
from voicesession import clock
from voicesession.pod_tokens import PodTokenError

CARD = "4711 0815"


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_process", {})
    monkeypatch.setattr(logs, "_secrets", [])


class Order(BaseModel):
    """What a team's code checks."""

    pizzas: int


def wrong_order() -> None:
    Order.model_validate({"pizzas": f"my card is {CARD}"})


def in_a_group() -> None:
    raise ExceptionGroup("in a group", [caught(wrong_order)])


def caught(failing: Callable[[], None]) -> Exception:
    try:
        failing()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


def write(
    name: str,
    message: str = "it failed",
    *args: object,
    path: str = "/app/voice_agent/call.py",
    error: BaseException | None = None,
    **extra: Any,
) -> str:
    """Returns the line of a warning."""
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord(name, logging.WARNING, path, 1, message, args, exc_info)
    record.__dict__.update(extra)
    return JsonFormatter({"voice_agent"}).format(record)


def read(line: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_line_begins_with_when_how_bad_who_and_what() -> None:
    line = read(write("voice_agent.call", "the call ends", reason="idle", room="r1", tenant=None))
    assert list(line) == ["time", "level", "logger", "message", "reason", "room"]
    assert line["time"].endswith("Z")
    assert abs(datetime.fromisoformat(line["time"]) - clock.now()) < timedelta(minutes=1)
    assert {**line, "time": ""} == {
        "time": "",
        "level": "warning",
        "logger": "voice_agent.call",
        "message": "the call ends",
        "reason": "idle",
        "room": "r1",
    }


def test_no_field_passes_for_what_the_line_itself_says() -> None:
    line = read(write("acme", "served", time="noon", level=9, logger="voice_agent"))
    assert (line["level"], line["logger"]) == ("warning", "acme")
    assert line["time"] != "noon"


def test_a_line_names_its_call() -> None:
    set_process_fields(pod="pod-1", session="uid-1")
    with log_context(room="r1"):
        add_to_log_context(session="uid-2")
        inside = read(write("voice_agent"))
        nearest = read(write("voice_agent", room="r2"))
    outside = read(write("voice_agent"))
    assert [(line.get("session"), line.get("room")) for line in (inside, nearest, outside)] == [
        ("uid-2", "r1"),
        ("uid-2", "r2"),
        ("uid-1", None),
    ]
    assert outside["pod"] == "pod-1"


async def test_tasks_name_the_call_that_began_them() -> None:
    async def work() -> str:
        await let_others_run()
        return write("voice_operator")

    with log_context(session="uid-1"):
        first = asyncio.create_task(work())
    with log_context(session="uid-2"):
        second = asyncio.create_task(work())
    assert [read(line)["session"] for line in await asyncio.gather(first, second)] == ["uid-1", "uid-2"]


@pytest.mark.parametrize("secret", ["sk-very-secret", 'quoted "secret"', "of two\nlines"])
def test_secrets_do_not_show(secret: str) -> None:
    hide(secret)
    line = write("acme", "calling with %s", secret, key=secret)
    assert (read(line)["message"], read(line)["key"]) == ("calling with ***", "***")
    assert hide_secrets(f"with {secret}") == "with ***"


def test_a_secret_in_a_secret_does_not_show() -> None:
    hide("hunter2-password", "postgresql://agent:hunter2-password@db/voice")
    assert hide_secrets("postgresql://agent:hunter2-password@db/voice") == "***"


def test_what_is_no_secret_mangles_nothing() -> None:
    hide("", "none")
    assert hide_secrets("there is none") == "there is none"


def test_tokens_do_not_show() -> None:
    assert hide_secrets("refused: eyJhbGciOi.eyJ2aWRl.c2ln here") == "refused: *** here"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("livekit.agents", "/opt/venv/livekit/agents/tts/tts.py"),
        ("asyncio", "/usr/lib/python3.12/asyncio/base_events.py"),
        ("root", "/opt/venv/lib/python3.12/site-packages/livekit/rtc/room.py"),
        ("client", "/opt/venv/lib/python3.12/site-packages/mcp/client/session.py"),
    ],
)
def test_the_texts_of_libraries_end_where_they_may_quote(name: str, path: str) -> None:
    line = write(name, "%s", f"no audio frames were pushed for text: my card is {CARD}", path=path, transcript=CARD)
    assert read(line)["message"] == "no audio frames were pushed for text"
    assert CARD not in line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            f"Task exception was never retrieved\nfuture: <Task ValueError('{CARD}')>",
            "Task exception was never retrieved",
        ),
        (f"Exception in callback note('{CARD}')", "Exception in callback note"),
    ],
)
def test_what_nobody_awaited_quotes_nothing(text: str, told: str) -> None:
    assert read(write("asyncio", text))["message"] == told


@pytest.mark.parametrize("name", ["voice_agent.call", "livekit.agents", "asyncio"])
@pytest.mark.parametrize("failing", [wrong_order, in_a_group])
def test_of_an_error_that_is_not_ours_only_kind_and_place_are_told(name: str, failing: Callable[[], None]) -> None:
    error = caught(failing)
    assert isinstance(error, ExceptionGroup) or CARD in str(error)
    line = write(name, error=error)
    assert CARD not in line
    assert read(line)["error"] == "ValidationError"
    assert any(frame.endswith("wrong_order") for frame in read(line)["at"])


def test_an_error_as_a_field_is_told_as_carefully() -> None:
    assert read(write("voice_agent", error=None, reason=caught(wrong_order)))["reason"] == "ValidationError"
    assert read(write("voice_agent", reason=PodTokenError("too old")))["reason"] == "PodTokenError: too old"


def test_an_error_of_ours_is_told_in_its_words() -> None:
    line = read(write("voice_agent", error=PodTokenError("too old")))
    assert line["error"] == "PodTokenError: too old"


def test_what_a_teams_own_code_logs_is_its_own_business() -> None:
    line = read(write("acme", error=caught(wrong_order), order={"pizzas": 3}))
    assert CARD in line["error"]
    assert line["order"] == {"pizzas": 3}


class Unspeakable:
    """What a team's code may have: nobody can say what it is."""

    def __str__(self) -> str:
        raise RuntimeError(CARD)


@pytest.mark.parametrize("extra", [{"order": {b"card": CARD}}, {"order": Unspeakable()}, {"order": {("a", "b"): CARD}}])
def test_a_line_that_cannot_be_written_says_where_it_comes_from_and_no_more(extra: dict[str, Any]) -> None:
    line = read(write("acme.bot", "an order", path="/app/acme/bot.py", **extra))
    assert (line["logger"], line["message"]) == ("acme.bot", "a log line could not be written")
    assert line["at"] == ["acme/bot.py:1"]
    assert CARD not in str(line)


def test_a_message_that_does_not_fit_its_arguments_tells_none_of_them() -> None:
    assert CARD not in write("voice_agent.call", "%d pizzas", CARD)


def test_nobody_takes_our_lines_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "basicConfig", logging.basicConfig)  # put back afterwards
    ours = logging.NullHandler()
    monkeypatch.setattr(logging.root, "handlers", [ours])
    keep_logs()
    logging.basicConfig(force=True, level=logging.DEBUG)
    assert logging.root.handlers == [ours]


def test_a_librarys_warning_is_told_once_a_minute_from_each_place() -> None:
    seldom = SeldomWarnings()

    def passes(second: float, name: str = "livekit.agents", level: int = logging.WARNING, line: int = 7) -> bool:
        record = logging.LogRecord(name, level, "/vad.py", line, "slower than realtime", None, None)
        record.created = second
        return seldom.filter(record)

    assert [passes(second) for second in (0, 1, 59, 60, 61)] == [True, False, False, True, False]
    assert passes(61, line=8)
    assert all(passes(second, level=logging.ERROR) for second in (0, 1))
    assert all(passes(second, name="voice_agent.call") for second in (0, 1))
