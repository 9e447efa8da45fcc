"""Listens to a call's agent session: what happens there keeps the call alive, or ends it."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import (
    AgentSession,
    AgentStateChangedEvent,
    APITimeoutError,
    ChatMessage,
    CloseEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    ToolCallEnded,
    ToolCallStarted,
    ToolExecutionUpdatedEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
)
from livekit.agents.voice.events import CloseReason

from voice_agent.answers.wrong_answer import WrongAnswerError
from voice_agent.endings import CallFacts, Ending
from voicesession.models import EndReason

# A provider that answers so will answer so again.
_HOPELESS = {401, 403, 404}
# So it is with these, unless it has answered before: then it was this one request.
_HOPELESS_AT_FIRST = {400, 422}
_THIS_REQUEST = {"content_filter", "context_length_exceeded"}
_NO_MONEY = "insufficient_quota"
# Of a message's latencies, what shows that a part has worked.
_PROOFS = {"llm_node_ttft": "llm_error", "tts_node_ttfb": "tts_error"}
# So often in turn a voice may be heard and not understood; from then on it keeps no call alive.
_MOST_UNHEARD = 5
_PARTS = {
    "stt_error": "speech-to-text",
    "llm_error": "chat",
    "tts_error": "text-to-speech",
    "realtime_model_error": "realtime",
}

# Where the classes of a provider's models are, and of what livekit-agents puts around them.
_OURS = ("livekit.plugins.openai.", "livekit.agents.", "voice_agent.")
# What livekit-agents says where the server sent something, and no decoder made sound of it.
_NO_AUDIO = "no audio frames were pushed"

log = logging.getLogger(__name__)


@dataclass
class SessionWatch:
    """What follows from the events of one call's primary agent session. `trouble`: the model that failed last."""

    provider: str
    facts: CallFacts
    on_activity: Callable[[], None]
    on_end: Callable[[Ending], None]
    on_failed_turn: Callable[[str], None]  # told the kind of error, for the first of those in a row
    is_apologizing: Callable[[], bool]  # for a turn that has failed: what fails meanwhile is the same turn's
    session: AgentSession[Any] | None = None
    trouble: str = ""
    _proven: set[str] = field(default_factory=set)  # kinds of errors, of parts that have worked in this call
    _failed_turns: int = 0
    _unheard: int = 0

    def attach(self, session: AgentSession[Any]) -> None:
        """Listens from now on; to be called before the session does anything."""
        self.session = session
        self.facts.has_session = True
        session.on("conversation_item_added", self._on_item)
        session.on("tool_execution_updated", self._on_tool)
        session.on("function_tools_executed", lambda _: self.on_activity())
        session.on("agent_state_changed", self._on_agent_state)
        session.on("user_state_changed", self._on_customer_state)
        session.on("user_input_transcribed", self._on_transcribed)
        session.on("error", self._on_error)
        session.on("close", self._on_close)

    def _on_item(self, event: ConversationItemAddedEvent) -> None:
        self.on_activity()
        if isinstance(event.item, ChatMessage):
            self._note_success(event.item)
            if event.item.role == "user":
                self.facts.turn_open_since = None

    def _on_tool(self, event: ToolExecutionUpdatedEvent) -> None:
        update = event.update
        if isinstance(update, ToolCallStarted):
            self.facts.tools_running.add(update.function_call.call_id)
        elif isinstance(update, ToolCallEnded):
            self.facts.tools_running.discard(update.call_id)
        self.on_activity()

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        self.facts.agent_busy = event.new_state in {"thinking", "speaking"}
        if event.new_state == "speaking":
            self.facts.turn_open_since = None  # it answers
        self.on_activity()

    def _on_customer_state(self, event: UserStateChangedEvent) -> None:
        self.facts.customer_speaks = event.new_state == "speaking"
        if event.old_state == "speaking":
            self.facts.turn_open_since = time.monotonic()
            self._unheard += 1
            if self._unheard == _MOST_UNHEARD:
                log.warning("the customer speaks, and nothing is understood", extra={"provider": self.provider})
        if "speaking" in {event.new_state, event.old_state} and self._unheard <= _MOST_UNHEARD:
            self.on_activity()

    def _on_transcribed(self, event: UserInputTranscribedEvent) -> None:
        if event.transcript.strip():
            self._unheard = 0
            self._proven.add("stt_error")
            self.on_activity()

    def _on_error(self, event: ErrorEvent) -> None:
        kind = getattr(event.error, "type", "")
        hopeless = is_hopeless(event, has_worked=kind in self._proven)
        if getattr(event.error, "recoverable", False) and not hopeless:
            return
        self.trouble = describe_trouble(event, self.provider)
        log.error("a model failed", extra={"detail": self.trouble})
        if hopeless:
            self.on_end(Ending(EndReason.ERROR, self.trouble))
        elif not self.is_apologizing():
            self._fail_turn(kind)

    def _fail_turn(self, kind: str) -> None:
        # The session counts too, but begins anew with each word, and the apology is one.
        self._failed_turns += 1
        if self.session is not None and self._failed_turns > self.session.conn_options.max_unrecoverable_errors:
            self.on_end(Ending(EndReason.ERROR, self.trouble))
        else:
            self.on_failed_turn(kind)

    def _note_success(self, message: ChatMessage) -> None:
        if message.role != "assistant":
            return
        proven = {kind for latency, kind in _PROOFS.items() if latency in message.metrics}
        self._proven |= proven
        if proven:
            self._failed_turns = 0

    def _on_close(self, event: CloseEvent) -> None:
        if event.reason is CloseReason.ERROR:
            self.on_end(Ending(EndReason.ERROR, self.trouble or "the agent session failed"))
        elif event.reason is CloseReason.PARTICIPANT_DISCONNECTED:
            self.on_end(Ending(EndReason.PARTICIPANT_LEFT))
        else:
            message = "the agent's code ended the conversation"
            self.on_end(Ending(EndReason.ENDED_BY_REQUEST, message, by_code=True))


def is_hopeless(event: ErrorEvent, *, has_worked: bool) -> bool:
    """Tells whether to ask again is of no use; `has_worked`: the same part has, in this call."""
    status = find_status(event)
    error = getattr(event.error, "error", event.error)
    body = getattr(error, "body", None)
    names = {body.get("code"), body.get("type")} if isinstance(body, dict) else set()
    if status in _HOPELESS or (status == 429 and _NO_MONEY in names):
        return True
    return status in _HOPELESS_AT_FIRST and not has_worked and not names & _THIS_REQUEST


def describe_trouble(event: ErrorEvent, provider: str) -> str:
    """Returns whose model failed at what, and how; neither words nor keys."""
    whose = name_model(event, provider)
    part = _PARTS.get(getattr(event.error, "type", ""), "model")
    if status := find_status(event):
        return f"{whose} answered {status} to a {part} request"
    error: Any = getattr(event.error, "error", event.error)
    if wrong := find_wrong_answer(error):
        return f"{whose} answered a {part} request with {wrong}"
    if isinstance(error, APITimeoutError):
        return f"{whose} did not answer a {part} request in time"
    return f"{whose} failed at a {part} request: {type(_find_first_cause(error)).__name__}"


def name_model(event: ErrorEvent, provider: str) -> str:
    """Returns the provider, or the class of a model that is none of the provider's: the code has made it itself."""
    label = getattr(event.source, "label", None)
    if not isinstance(label, str) or label.startswith(_OURS):
        return f"provider {provider!r}"
    return f"the code's own model {label}"


def find_status(event: ErrorEvent) -> int | None:
    """Returns the HTTP status with which the provider answered, or None where it did not get that far."""
    error = getattr(event.error, "error", event.error)
    # A realtime model's refused handshake is the cause of the error that is told.
    statuses = (getattr(error, "status_code", None), getattr(getattr(error, "__cause__", None), "status", None))
    return next((status for status in statuses if isinstance(status, int) and status > 0), None)


def find_wrong_answer(error: BaseException) -> str | None:
    """Returns what the provider answered in place of an answer, or None where it failed in another way."""
    if str(error).startswith(_NO_AUDIO):
        return "audio that cannot be read"
    cause = _find_first_cause(error)
    return str(cause) if isinstance(cause, WrongAnswerError) else None


def _find_first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
