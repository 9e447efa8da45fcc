"""What our job context relies on in livekit-agents beyond its public interface: a new version has to pass here."""

import asyncio
import contextlib
import inspect
import logging
import os
import re
import socket
import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import api, rtc
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, WorkerOptions, get_job_context
from livekit.agents.voice.remote_session import SessionHost
from livekit.agents.voice.room_io._output import _ParticipantAudioOutput

from local_cluster.layout import REPOSITORY
from testing.livekit import running_livekit
from testing.waiting import eventually, let_others_run, stays
from voice_agent import first_words, moments, other_sessions, session_host
from voice_agent.job_context import (
    CallContext,
    CallRoom,
    build_job_info,
    build_job_process,
    forget_recorded_events,
)
from voice_agent.process.lean_imports import DEFERRED
from voice_agent.server_api import ServerApi
from voice_agent.worker_options import SESSION_END_SECONDS, read_server
from voicesession.pod_environment import LIVEKIT_SECRETS


class Noted:
    """What the context's hooks have been told."""

    def __init__(self) -> None:
        self.sessions: list[AgentSession[Any]] = []
        self.shutdowns: list[str] = []
        self.deletions = 0

    def delete(self) -> None:
        self.deletions += 1


def build_context(noted: Noted) -> CallContext:
    info = build_job_info(
        job_id="AJ_1",
        room="room-1",
        room_sid="RM_1",
        metadata='{"a": 1}',
        attributes={"b": "2"},
        url="ws://x",
        token="t",
        worker_id="pod-1",
    )
    return CallContext(
        process=build_job_process(),
        info=info,
        room=rtc.Room(),
        on_session=noted.sessions.append,
        on_shutdown=noted.shutdowns.append,
        server_api=ServerApi(url="ws://x", room="room-1", tell=lambda _: lambda: None, on_delete_room=noted.delete),
    )


def test_the_version_is_the_one_that_was_read() -> None:
    assert version("livekit-agents") == "1.8.9"


def test_the_private_constructor() -> None:
    parameters = inspect.signature(JobContext.__init__).parameters
    assert list(parameters) == ["self", "proc", "info", "room", "on_connect", "on_shutdown", "inference_executor"]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for name, parameter in parameters.items() if name != "self")


async def test_what_the_code_sees() -> None:
    context = build_context(Noted())
    context.enter()
    assert get_job_context() is context
    assert context.job.metadata == '{"a": 1}'
    assert context.job.attributes == {"b": "2"}
    assert context.job.room.name == "room-1"
    assert context.proc.userdata == {}
    assert context.worker_id == "pod-1"
    assert not context.is_fake_job()
    await context.clean_up()


async def test_the_primary_session_is_told_as_it_starts() -> None:
    noted = Noted()
    context = build_context(noted)
    context.enter()
    states: list[str] = []
    session: AgentSession[None] = AgentSession(vad=None, turn_handling={"turn_detection": "manual"})
    second: AgentSession[None] = AgentSession(vad=None, turn_handling={"turn_detection": "manual"})

    def watch(started: AgentSession[Any]) -> None:
        noted.sessions.append(started)
        started.on("agent_state_changed", lambda event: states.append(event.new_state))

    context._on_session = watch
    await session.start(Agent(instructions="x"))
    await second.start(Agent(instructions="x"))
    assert noted.sessions == [session]
    assert context.primary is session
    assert context.primary_session is session
    assert states == ["listening"]
    await session.aclose()
    await second.aclose()
    await context.clean_up()


async def test_a_session_beside_the_primary_one_is_told_as_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AgentSession, "start", AgentSession.start)  # as it was, afterwards
    other_sessions.tell_of_others()
    context = build_context(Noted())
    others: list[AgentSession[Any]] = []
    context._on_other_session = others.append
    context.enter()
    first: AgentSession[None] = AgentSession(vad=None, turn_handling={"turn_detection": "manual"})
    second: AgentSession[None] = AgentSession(vad=None, turn_handling={"turn_detection": "manual"})
    for session in (first, second, second):
        await session.start(Agent(instructions="x"))
    assert others == [second]
    for session in (first, second):
        await session.aclose()
    await context.clean_up()


async def start_in_a_room(**options: Any) -> AgentSession[None]:
    session: AgentSession[None] = AgentSession(vad=None, turn_handling={"turn_detection": "manual"})
    await session.start(agent=Agent(instructions="x"), room=rtc.Room(), **options)
    return session


async def test_a_session_host_opens_unless_it_is_kept_shut(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(AgentSession, "start", AgentSession.start)  # to be put back
    opened = await start_in_a_room()
    assert isinstance(opened._session_host, SessionHost), "livekit-agents does it another way now"
    await opened.aclose()
    session_host.keep_shut()
    for options in ({}, {"session_host": True}):
        session = await start_in_a_room(**options)
        assert session.agent_state == "listening"
        assert session._session_host is None
        await session.aclose()
    assert caplog.text.count("session_host=True is not obeyed") == 1


def test_a_session_that_cannot_be_kept_shut_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(self: object, agent: object) -> None: ...

    monkeypatch.setattr(AgentSession, "start", start)
    with pytest.raises(session_host.SessionHostError, match="no session_host="):
        session_host.keep_shut()


async def interrupt_and_speak_again() -> bool:
    """Interrupts an agent's first words before anybody hears them; returns whether its next words are taken."""
    output = _ParticipantAudioOutput(
        rtc.Room(), sample_rate=24_000, num_channels=1, track_publish_options=rtc.TrackPublishOptions()
    )
    frame = rtc.AudioFrame(bytes(960), 24_000, 1, 480)
    first = asyncio.create_task(output.capture_frame(frame))
    await let_others_run()
    first.cancel()
    await asyncio.wait([first])
    if not output.subscribed.done():
        output.subscribed.set_result(None)
    second = asyncio.create_task(output.capture_frame(frame))
    await asyncio.wait([second])
    await output.aclose()
    return not second.cancelled()


async def test_words_that_are_interrupted_before_they_are_heard_are_not_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_ParticipantAudioOutput, "capture_frame", _ParticipantAudioOutput.capture_frame)  # put back
    assert not await interrupt_and_speak_again(), "livekit-agents does it right now: `first_words` can go"
    first_words.survive_interruption()
    assert await interrupt_and_speak_again()


def room_of(*kinds: "rtc.ParticipantKind.ValueType") -> Any:
    participants = {str(kind): SimpleNamespace(sid=f"PA_{kind}", kind=kind) for kind in kinds}
    return SimpleNamespace(remote_participants=participants)


async def test_whoever_is_there_and_does_not_listen_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_ParticipantAudioOutput, "capture_frame", _ParticipantAudioOutput.capture_frame)  # put back
    monkeypatch.setattr(first_words, "LISTEN_SECONDS", 0.01)
    first_words.survive_interruption()
    output = _ParticipantAudioOutput(
        rtc.Room(), sample_rate=24_000, num_channels=1, track_publish_options=rtc.TrackPublishOptions()
    )
    monkeypatch.setattr(output, "_room", room_of(rtc.ParticipantKind.PARTICIPANT_KIND_AGENT))
    words = asyncio.create_task(output.capture_frame(rtc.AudioFrame(bytes(960), 24_000, 1, 480)))
    await stays(lambda: not words.done(), 0.2, "nobody is there: the words wait")
    monkeypatch.setattr(output, "_room", room_of(rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD))
    await eventually(words.done)
    await output.aclose()


async def test_recorded_events_can_be_forgotten() -> None:
    session: AgentSession[None] = AgentSession(vad=None, turn_handling={"turn_detection": "manual"})
    await session.start(Agent(instructions="x"))
    assert session._recorded_events
    forget_recorded_events(session)
    assert session._recorded_events == []
    await session.aclose()


async def test_shutdown_and_its_callbacks(caplog: pytest.LogCaptureFixture) -> None:
    noted = Noted()
    context = build_context(noted)
    told: list[str] = []

    async def with_reason(reason: str) -> None:
        told.append(reason)

    async def without() -> None:
        told.append("called")

    async def failing() -> None:
        raise RuntimeError("broken")

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            told.append("ended with us")

    def not_async(reason: str) -> None:
        told.append(f"{reason} as well")

    for callback in (with_reason, without, failing, slow, not_async):
        context.add_shutdown_callback(callback)  # type: ignore[arg-type]
    context.shutdown(reason="done")
    assert noted.shutdowns == ["done"]
    with caplog.at_level(logging.WARNING):
        callbacks = asyncio.create_task(context.run_shutdown_callbacks("idle"))
        await eventually(lambda: "a shutdown callback failed" in caplog.text)
        assert told == ["idle", "called", "idle as well"]
        callbacks.cancel()
        await asyncio.wait({callbacks})
    assert told[-1] == "ended with us"


async def test_the_server_api_is_livekits_own_client_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIVEKIT_SECRETS:
        monkeypatch.setenv(name, "of somebody else")
    noted = Noted()
    context = build_context(noted)
    assert isinstance(context.api, api.LiveKitAPI)
    assert context.api is context.api
    with pytest.raises(api.TwirpError, match="agent pods, which hold no LiveKit key"):
        await context.transfer_sip_participant("them", "tel:+1")
    assert isinstance(await context.delete_room(), api.DeleteRoomResponse)
    assert isinstance(await context.api.room.delete_room(api.DeleteRoomRequest(room="room-1")), api.DeleteRoomResponse)
    assert noted.deletions == 2
    with pytest.raises(api.TwirpError, match="its call's own room, 'room-1', and not for 'another'"):
        context.delete_room("another")


def connections_that_hold_back(port: int) -> int:
    """Counts this process's connections to a port that hold small messages back (Nagle's algorithm)."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with (
            contextlib.suppress(OSError),
            socket.fromfd(int(descriptor), socket.AF_INET, socket.SOCK_STREAM) as connection,
        ):
            name = connection.getpeername()  # of a Unix socket: a text
            is_theirs = isinstance(name, tuple) and name[1] == port
            found += is_theirs and not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    return found


async def test_a_call_s_connection_to_livekit_holds_nothing_back() -> None:
    with running_livekit() as livekit:
        plain = rtc.Room()
        await plain.connect(livekit.url, livekit.customer_token("room"))
        assert connections_that_hold_back(livekit.port) == 1, "the library does it by itself now"
        await plain.disconnect()
        room = CallRoom("room", on_connected=lambda: None)
        await room.connect(livekit.url, livekit.agent_token("room"))
        assert room.isconnected()
        assert connections_that_hold_back(livekit.port) == 0
        await room.disconnect()


async def test_where_a_server_keeps_what_its_decorator_is_given() -> None:
    server = AgentServer()

    async def over(_: JobContext) -> None: ...

    @server.rtc_session(agent_name="a", on_session_end=over)
    async def entrypoint(_: JobContext) -> None: ...

    worker = read_server(server)
    assert (worker.entrypoint, worker.on_session_end, worker.unused) == (entrypoint, over, ("agent_name",))
    assert worker.session_end_seconds == server._session_end_timeout == SESSION_END_SECONDS
    assert AgentSession(vad=None)._opts.session_close_transcript_timeout is not None


def run_python(text: str, stderr: str | None = None) -> str:
    """Runs a program as a pod would; `stderr` is what it must have written there."""
    paths = [str(REPOSITORY / path) for path in ("operator", "agent_image")]
    program = (
        f"import sys; sys.path[:0] = {paths!r}\n"
        f"from voice_agent.process import lean_imports\nlean_imports.install()\n{text}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert stderr in {None, done.stderr}
    return done.stdout


def test_deferred_packages_stay_deferred_until_they_are_used() -> None:
    printed = run_python(
        "import livekit.agents, livekit.plugins.openai\n"
        "print(sorted(name for name in lean_imports.DEFERRED if lean_imports.is_deferred(name)))\n"
        "from livekit.plugins import openai\n"
        "print(openai.realtime.RealtimeModel.__name__, openai.responses.LLM.__name__)\n"
        "print(openai.tools.WebSearch.__name__)\n"
        "from livekit.agents.utils import codecs\n"
        "import av\n"
        "print(codecs.AudioStreamDecoder.__name__, av.AudioFrame.__name__)\n"
        "from openai.types.beta.realtime import session\n"
        "from openai.types.responses import Response\n"
        "import openai.types.realtime as types\n"
        "print(Response.__name__, types.RealtimeResponse.__name__)\n"
        "print([name for name in lean_imports.DEFERRED if lean_imports.is_deferred(name)])\n"
    )
    deferred, plugin, tool, decoder, types, left = printed.splitlines()
    assert deferred == str(sorted(DEFERRED))
    assert (plugin, tool) == ("RealtimeModel LLM", "WebSearch")
    assert decoder == "AudioStreamDecoder AudioFrame"
    assert types == "Response RealtimeResponse"
    assert left in ("[]", "['openai.types.beta']")


COUNT_NATIVE_LINES = """
import asyncio
import os
from livekit import rtc
from livekit.rtc import _ffi_client
from voice_agent.process import native_logs

levels = []
_ffi_client.to_python_level = levels.append

async def fail():
    try:
        await rtc.Room().connect("ws://127.0.0.1:1", "", rtc.RoomOptions(connect_timeout=1))
    except rtc.ConnectError:
        print("refused", end=" ")

native_logs.silence()
asyncio.run(fail())
print(len(levels), flush=True)
os._exit(0)  # as an agent does: the native library aborts where it logs into a Python that ends
"""


def test_the_native_log_is_off_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUST_LOG", raising=False)
    monkeypatch.delenv("LIVEKIT_RTC_DEBUG", raising=False)
    result, count = run_python(COUNT_NATIVE_LINES, stderr="").split()
    assert result == "refused"
    assert int(count) < 5  # from before it was off
    monkeypatch.setenv("LIVEKIT_RTC_DEBUG", "1")
    result, count = run_python(COUNT_NATIVE_LINES).split()
    assert result == "refused"
    assert int(count) > 50


def test_the_silero_plugin_is_loaded_where_a_pool_asks_for_it() -> None:
    printed = run_python(
        "from pathlib import Path\n"
        "from voice_agent.model_clients import ModelClients\n"
        "from voice_agent.provider_models import ModelShelf\n"
        "for kind in ('native', 'silero'):\n"
        "    shelf = ModelShelf([], ModelClients(Path('/nowhere')))\n"
        "    shelf.warm_up(kind)\n"
        "    print(type(shelf.vad).__module__)\n"
    )
    assert printed.splitlines() == ["builtins", "livekit.plugins.silero.vad"]


async def test_the_agents_words_wait_for_what_is_said_ahead_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ParticipantAudioOutput, "capture_frame", _ParticipantAudioOutput.capture_frame)  # put back
    moments.take_turns()
    output = _ParticipantAudioOutput(
        rtc.Room(), sample_rate=24_000, num_channels=1, track_publish_options=rtc.TrackPublishOptions()
    )
    session: AgentSession[None] = AgentSession(vad=None, turn_handling={"turn_detection": "manual"})
    session.output.audio = output
    await moments.say_ahead(session, bytes(48_000))  # nobody listens yet: at once
    output.subscribed.set_result(None)
    ahead = asyncio.create_task(moments.say_ahead(session, bytes(48_000)))
    await let_others_run()
    words = asyncio.create_task(output.capture_frame(rtc.AudioFrame(bytes(960), 24_000, 1, 480)))
    ended: list[asyncio.Task[None]] = []
    ahead.add_done_callback(ended.append)
    words.add_done_callback(ended.append)
    await asyncio.wait([ahead, words], timeout=10)
    await output.aclose()
    assert ended == [ahead, words]


def test_the_page_about_workers_names_options_that_they_have() -> None:
    table = (REPOSITORY / "docs/from-workers.md").read_text().partition("| with a worker | here |")[2]
    named = {
        name
        for line in table.splitlines()
        for name in re.findall(r"`([a-z_]+)`", line.partition("|")[2].partition("|")[0])
    }
    options = {*inspect.signature(AgentServer.__init__).parameters, *inspect.signature(WorkerOptions).parameters}
    assert named
    assert named <= options
