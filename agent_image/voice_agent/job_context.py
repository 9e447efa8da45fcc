"""A real JobContext for one call, of parts that livekit-agents keeps private (1.8.9, contract-tested)."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from livekit import api as livekit_api
from livekit import rtc
from livekit.agents import AgentSession, JobContext, JobExecutorType, JobProcess
from livekit.agents.job import JobAcceptArguments, RunningJobInfo, _JobContextVar
from livekit.agents.types import TOPIC_CHAT
from livekit.agents.utils import http_context
from livekit.agents.voice.room_io._pre_connect_audio import PRE_CONNECT_AUDIO_BUFFER_STREAM
from livekit.protocol import agent, models
from livekit.rtc.data_stream import ByteStreamHandler, ByteStreamReader, TextStreamHandler

from voice_agent.early_chat import EarlyChat
from voice_agent.process.tcp_nodelay import send_at_once
from voice_agent.server_api import ServerApi
from voice_agent.text_budget import TextRefusal
from voice_agent.typed_text import TypedText
from voicesession.models import TextInput
from voicesession.names import AGENT_IDENTITY

# Of one stream of text or bytes that a participant sends. The code of a team may take pictures.
MOST_STREAM_BYTES = 16 * 1024 * 1024
# What a customer said before the agent came, of which a client sends one, and one more whenever it comes back.
_MOST_EARLY_AUDIO = 5
_ORDINARY = TextInput()

_Argument = TypeVar("_Argument")

log = logging.getLogger(__name__)


class CodeExitedError(RuntimeError):
    """The agent's code wanted to end the process; only its call's end does."""


class CallRoom(rtc.Room):
    """A room that says when it is connected and how long that took, and that can be joined again."""

    def __init__(
        self,
        name: str,
        on_connected: Callable[[], None],
        until_wanted: Callable[[str], Awaitable[str]] | None = None,
        text_input: TextInput = _ORDINARY,
        on_text_refused: Callable[[str, TextRefusal, str], None] = lambda *_: None,
        on_text_read: Callable[[dict[str, int]], None] = lambda _: None,
    ) -> None:
        """`on_connected` is called at the moment `Room.connect` returns.

        `until_wanted` holds a connection back; it is given the token, and returns the one to connect with.
        `on_text_refused` is told of each typed text beyond `text_input`: whose it is, why, and words for them;
        `on_text_read` of each other, with the bytes that were typed so far, by identity.
        """
        super().__init__()
        # As LiveKit's own runner does: the name is known before the connection.
        self._info.name = name
        self._on_connected = on_connected
        self._until_wanted = until_wanted
        self._url = ""
        self._options = rtc.RoomOptions()
        self.connect_millis = 0
        self.chat = EarlyChat()
        self.typed = TypedText(text_input, give=self.chat.come, refuse=on_text_refused, on_read=on_text_read)
        super().register_text_stream_handler(TOPIC_CHAT, self.typed.come)
        self._early_audio_left = _MOST_EARLY_AUDIO
        self.on("reconnected", send_at_once)

    @property
    def was_asked_for(self) -> bool:
        """Whether somebody has begun to connect."""
        return bool(self._url)

    async def connect(self, url: str, token: str, options: rtc.RoomOptions | None = None) -> None:
        """Connects.

        Raises:
            livekit.rtc.ConnectError: LiveKit refused, or could not be reached.
        """
        if self._until_wanted is not None:
            token = await self._until_wanted(token)
        began = time.monotonic()
        bound = rtc.DataStreamOptions(max_payload_byte_length=MOST_STREAM_BYTES)
        self._url, self._options = url, replace(options or self._options, data_stream=bound)
        await super().connect(url, token, self._options)
        self.connect_millis = round(1000 * (time.monotonic() - began))
        send_at_once()
        self._on_connected()

    def register_text_stream_handler(self, topic: str, handler: TextStreamHandler) -> None:
        """As LiveKit's; what was typed before is not lost.

        Raises:
            ValueError: the topic has its handler already.
        """
        if topic == TOPIC_CHAT:
            self.chat.give_to(handler)
        else:
            super().register_text_stream_handler(topic, handler)

    def unregister_text_stream_handler(self, topic: str) -> None:
        """As LiveKit's."""
        if topic == TOPIC_CHAT:
            self.chat.take_away()
        else:
            super().unregister_text_stream_handler(topic)

    def register_byte_stream_handler(self, topic: str, handler: ByteStreamHandler) -> None:
        """As LiveKit's; of audio from before the agent came, which livekit-agents keeps, few streams are taken.

        Raises:
            ValueError: the topic has its handler already.
        """

        def take_few(reader: ByteStreamReader, identity: str) -> None:
            self._early_audio_left -= 1
            if self._early_audio_left >= 0:
                handler(reader, identity)
            else:
                reader.close()

        super().register_byte_stream_handler(topic, take_few if topic == PRE_CONNECT_AUDIO_BUFFER_STREAM else handler)

    async def rejoin(self) -> None:
        """Connects again after LiveKit's library has given up; the tracks that were published are published again.

        By the newest token: LiveKit renews it for whoever is connected. Listeners hear of the others in the room as
        they do when the library itself has reconnected.

        Raises:
            livekit.rtc.ConnectError: LiveKit refused, or could not be reached.
        """
        publications = list(self.local_participant.track_publications.values())
        for identity in list(self._remote_participants):
            self.emit("participant_disconnected", self._remote_participants.pop(identity))
        await super().connect(self._url, self._token or "", self._options)
        send_at_once()
        for participant in list(self._remote_participants.values()):
            self.emit("participant_connected", participant)
        for publication in publications:
            if publication.track is not None:
                options = rtc.TrackPublishOptions(source=publication.source)
                await self.local_participant.publish_track(publication.track, options)


class CallContext(JobContext):
    """The context that the agent's code sees, with hooks where LiveKit's worker has its own."""

    def __init__(
        self,
        *,
        process: JobProcess,
        info: RunningJobInfo,
        room: rtc.Room,
        on_session: Callable[[AgentSession[Any]], None],
        on_shutdown: Callable[[str], None],
        server_api: ServerApi,
        on_other_session: Callable[[AgentSession[Any]], None] = lambda _: None,
    ) -> None:
        """`on_session` is called with the primary AgentSession as it starts, before it does anything.

        `on_other_session`: as that, with each that is started beside it. `server_api` asks the operator for what
        `ctx.api` cannot do without a LiveKit key.
        """
        self._on_session = on_session
        self._on_other_session = on_other_session
        self._others: list[AgentSession[Any]] = []
        self._server_api = server_api
        self._primary: AgentSession[Any] | None = None
        super().__init__(
            proc=process,
            info=info,
            room=room,
            on_connect=lambda: None,
            on_shutdown=on_shutdown,
            inference_executor=_NoInference(),
        )
        self.api = server_api.client

    @property
    def _primary_agent_session(self) -> AgentSession[Any] | None:
        return self._primary

    @_primary_agent_session.setter
    def _primary_agent_session(self, session: AgentSession[Any] | None) -> None:
        is_new = session is not None and session is not self._primary
        self._primary = session
        if session is not None and is_new:
            self._on_session(session)

    def meet(self, session: AgentSession[Any]) -> None:
        """Takes notice of a session that is about to start."""
        if self._primary is not None and session not in [self._primary, *self._others]:
            self._others.append(session)
            self._on_other_session(session)

    @property
    def primary(self) -> AgentSession[Any] | None:
        """The primary AgentSession, or None while none has been started."""
        return self._primary

    @property
    def sessions(self) -> list[AgentSession[Any]]:
        """The primary AgentSession, and those beside it."""
        return [*([self._primary] if self._primary is not None else []), *self._others]

    def delete_room(self, room_name: str | None = None) -> "asyncio.Future[livekit_api.DeleteRoomResponse]":
        """Asks the operator to delete this call's room.

        Raises:
            livekit.api.ServerError: another room is named.
        """
        self._server_api.delete_room(room_name or self.job.room.name)
        done: asyncio.Future[livekit_api.DeleteRoomResponse] = asyncio.get_running_loop().create_future()
        done.set_result(livekit_api.DeleteRoomResponse())
        return done

    def enter(self) -> None:
        """Makes this the current job context of the running task and of those it starts."""
        self._on_setup()
        _JobContextVar.set(self)
        http_context._new_session_ctx()  # noqa: SLF001

    async def run_shutdown_callbacks(self, reason: str) -> None:
        """Runs the code's shutdown callbacks at once, each told the reason; a failing one is logged.

        They end with whoever waits for them.
        """

        async def run(callback: Callable[[str], Awaitable[None]]) -> None:
            try:
                await call_their_code(callback, reason)
            except Exception:
                log.exception("a shutdown callback failed")

        await asyncio.gather(*(run(callback) for callback in self._shutdown_callbacks))

    async def clean_up(self) -> None:
        """Ends what the code left running, and frees the context's resources."""
        pending = [*self._pending_tasks, *self._participant_tasks.values()]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self._on_cleanup()
        await http_context._close_http_ctx()  # noqa: SLF001


async def call_their_code(callback: Callable[[_Argument], Awaitable[None]], argument: _Argument) -> None:
    """Calls where it is awaited, so that code which is not async, as its type says, fails there and nowhere else.

    Raises:
        CodeExitedError: it called `sys.exit()`, which would end the process with its books unwritten.
    """
    try:
        await callback(argument)
    except SystemExit as error:
        raise CodeExitedError(f"the agent's code called sys.exit({error.code!r})") from error


class _NoInference:
    """Stands where the worker's process for plug-in models would be."""

    async def do_inference(self, method: str, data: bytes) -> bytes | None:
        raise NotImplementedError(
            f"{method} wants LiveKit's inference process, which agent pods do not run; "
            "use turn_detection='vad' or inference.TurnDetector()"
        )


def build_job_process() -> JobProcess:
    """Returns the process object that prewarm functions and entrypoints share (`ctx.proc.userdata`)."""
    # PROCESS: this process is the job's alone, so log_context_fields may go on every line of it.
    # The proxy as a worker would find it: plugins' own sessions go by it.
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("HTTP_PROXY")
    return JobProcess(executor_type=JobExecutorType.PROCESS, user_arguments=None, http_proxy=proxy)


def build_job_info(
    *,
    job_id: str,
    room: str,
    room_sid: str,
    metadata: str,
    attributes: Mapping[str, str],
    url: str,
    token: str,
    worker_id: str,
) -> RunningJobInfo:
    """Returns the job as a worker would have been given it."""
    return RunningJobInfo(
        accept_arguments=JobAcceptArguments(name="", identity=AGENT_IDENTITY, metadata=""),
        job=agent.Job(
            id=job_id,
            room=models.Room(name=room, sid=room_sid),
            type=agent.JobType.JT_ROOM,
            metadata=metadata,
            attributes=attributes,
        ),
        url=url,
        token=token,
        worker_id=worker_id,
        fake_job=False,
    )


def export_room(url: str, token: str) -> None:
    """Gives the call's room to clients of LiveKit's that code makes itself, as the variables that they read.

    So `api.LiveKitAPI()` can be made; what a participant's token, which this one is, may not ask, LiveKit refuses.
    """
    os.environ.update({"LIVEKIT_URL": url, "LIVEKIT_TOKEN": token})


def forget_recorded_events(session: AgentSession[Any]) -> None:
    """Empties the list in which a session keeps every event of its life, two a second, for LiveKit Cloud's reports."""
    session._recorded_events.clear()  # noqa: SLF001
