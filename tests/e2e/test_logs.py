"""One command follows a call through the logs of every part that knows it: the one that the page has."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from typing import Any

from demo.conversation import converse
from testing.front_door import ask_for_connection
from testing.log_command import read_log_command
from testing.progress import Step
from testing.release import Release, tool_environment
from testing.release_calls import rows_of, voice_session_of, wait_for_pod
from testing.waiting import eventually_sync

SENTENCES = (
    "The secret word of this call is elephant.",
    "I would like to talk about opening a bank account.",
    "Please book a table at the restaurant tonight.",
)
# By the token service, when it has its answer; the operator may have seen the VoiceSession before.
CREATED = ("token_service", "VoiceSession created")
# One of each of these, in this order; what else there is may be between them.
MILESTONES = [
    ("voice_operator", "pod claimed"),
    ("voice_agent", "the call is taken"),
    ("voice_agent", "the agent joined"),
    ("voice_operator", "agent joined"),
]


def run_documented_command(release: Release, session: str) -> str:
    """Returns what the page's command prints of this call."""
    command = read_log_command().replace("-n voice ", f"-n {release.namespace} ")
    assert f"-n {release.namespace} " in command
    environment = {**tool_environment(), "SESSION": session}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_line(text: str) -> dict[str, Any]:
    """Returns a line without kubectl's prefix."""
    _, _, written = text.partition(" ")
    line: dict[str, Any] = json.loads(written)
    return line


async def test_one_command_follows_a_call_through_all_parts(
    release: Release, front_door: str, speak: Callable[[str], bytes]
) -> None:
    speech = {sentence: speak(sentence) for sentence in SENTENCES}
    connection = ask_for_connection(front_door)
    talk = asyncio.create_task(converse(connection, speech, Step("conversation"), 120))
    pod = await asyncio.to_thread(wait_for_pod, release, connection.room, 60)
    call = await asyncio.to_thread(voice_session_of, release, connection.room)
    assert call is not None
    uid, name = call["metadata"]["uid"], call["metadata"]["name"]

    def has_been_said() -> bool:
        return any("elephant" in (row["content"] or "").lower() for row in rows_of(release, connection.room))

    # The pod, and with it its log, is there as long as the call: two sentences more.
    await asyncio.to_thread(eventually_sync, has_been_said, 120)
    text = await asyncio.to_thread(run_documented_command, release, uid)
    await talk

    lines = [read_line(line) for line in text.splitlines()]
    told = [(line["logger"].split(".")[0], line["message"]) for line in lines]
    assert told.count(CREATED) == 1
    assert [each for each in told if each in MILESTONES] == MILESTONES
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    for line in lines:
        assert line["session"] == uid
        assert line["voicesession"] == name
        assert line["room"] == connection.room
    assert {line["pod"] for line in lines if line["logger"].startswith("voice_agent.")} == {pod}
    assert "elephant" not in text.lower()
    assert connection.token not in text
