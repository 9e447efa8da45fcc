"""Writes what is said and done in one agent session, as its events tell, and its history where they do not."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import (
    AgentSession,
    ChatMessage,
    ConversationItemAddedEvent,
    FunctionToolsExecutedEvent,
    ToolCallStarted,
    ToolExecutionUpdatedEvent,
    UserInputTranscribedEvent,
)
from livekit.agents.llm import ChatItem

from voice_agent.conversation_items import Row, build_call_row, build_rows, build_tool_rows, count_usage
from voice_agent.conversation_log import ConversationLog
from voice_agent.drafts import Drafts


@dataclass
class SessionBooks:
    """The rows of one agent session.

    told: what is a row, or was told to us, as contents by item id; of all sessions that write one conversation.
    """

    conversation: ConversationLog
    drafts: Drafts
    told: dict[str, str | None] = field(default_factory=dict)
    session: AgentSession[Any] | None = None
    _usage_counted: dict[str, int] = field(default_factory=dict)

    def attach(self, session: AgentSession[Any]) -> None:
        """Listens from now on; to be called before the session does anything."""
        self.session = session
        session.on("conversation_item_added", self._on_item)
        session.on("tool_execution_updated", self._on_tool)
        session.on("function_tools_executed", self._on_tools)
        session.on("user_input_transcribed", self._on_transcribed)

    def know(self, items: Iterable[ChatItem]) -> None:
        """Takes what an earlier attempt has written: in the session's history it is nothing new."""
        self.told.update((item.id, None) for item in items)

    def write_rest(self) -> None:
        """Has everything written that no event has told: what was heard and answered by nobody, and the history."""
        self.conversation.append(self.drafts.rest())
        self._write_untold()

    def _write_untold(self) -> None:
        """Has written what is in the session's history, and no event was told of: by code, or by a tool that went on.

        A background tool's results come there so.
        """
        items = self.session.history.items if self.session is not None else []
        self._append([row for item in items if item.id not in self.told for row in build_rows(item)])

    def _append(self, rows: Iterable[Row]) -> None:
        new = [row for row in rows if row["itemId"] not in self.told]
        self.told.update((row["itemId"], row.get("content")) for row in new)
        self.conversation.append(new)

    def _on_item(self, event: ConversationItemAddedEvent) -> None:
        if isinstance(event.item, ChatMessage):
            self._on_message(event.item)
        else:
            self._append(build_rows(event.item))
        self._write_untold()

    def _on_message(self, message: ChatMessage) -> None:
        usage = self._usage_since_last(message)
        for row in ({**row, "usage": usage} if usage else row for row in build_rows(message)):
            if row["itemId"] not in self.told:
                self.told[row["itemId"]] = row["content"]
                is_spoken = bool(message.metrics) or message.transcript_confidence is not None
                self.conversation.append(self.drafts.complete(row, spoken=is_spoken))
            elif self.told[row["itemId"]] not in {None, row["content"]}:
                # A transcript that was revised: what is written stays.
                self._append([{**row, "itemId": f"{row['itemId']}_{len(self.told)}"}])

    def _on_tool(self, event: ToolExecutionUpdatedEvent) -> None:
        if isinstance(event.update, ToolCallStarted):
            # At once: should the agent die, whoever comes next has to know that it may have been done.
            self._append([build_call_row(event.update.function_call)])

    def _on_tools(self, event: FunctionToolsExecutedEvent) -> None:
        self._append(build_tool_rows(event))

    def _on_transcribed(self, event: UserInputTranscribedEvent) -> None:
        if event.transcript.strip():
            self.drafts.hear(event.transcript, is_final=event.is_final)

    def _usage_since_last(self, message: ChatMessage) -> dict[str, int]:
        """Returns what the models were used for since the agent's last message; counted with its messages."""
        if message.role != "assistant" or self.session is None:
            return {}
        counted = count_usage(self.session)
        since = {name: count - self._usage_counted.get(name, 0) for name, count in counted.items()}
        self._usage_counted = counted
        return {name: count for name, count in since.items() if count > 0}
