"""What both sides are saying at this moment, written a little behind: an agent that dies is gone in mid-sentence."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from livekit.agents import AgentSession

from voice_agent.conversation_items import Row
from voice_agent.conversation_log import ConversationLog
from voicesession import clock

# A sentence is written when it lasts as long, and as often: short ones cost nothing.
PERIOD_SECONDS = 1.5


class Drafts:
    """The sentences in progress, one of each side."""

    def __init__(self, conversation: ConversationLog, read_spoken: Callable[[], str]) -> None:
        """`read_spoken` returns how much of the agent's sentence has been heard; nothing while it is silent."""
        self._conversation = conversation
        self._read_spoken = read_spoken
        self._heard: list[str] = []
        self._guess = ""
        self._written: dict[str, Row] = {}  # by role

    def hear(self, transcript: str, *, is_final: bool) -> None:
        """Takes a piece of what the customer says; the next one comes in place of a piece that is not final."""
        self._guess = "" if is_final else transcript
        if is_final:
            self._heard.append(transcript)

    def complete(self, row: Row) -> Row:
        """Returns the row of a whole message, in the place of its draft."""
        if row["role"] == "user":
            self._heard, self._guess = [], ""
        draft = self._written.pop(row["role"], None)
        return {**row, "itemId": draft["itemId"], "position": draft["position"]} if draft else row

    async def keep_written(self) -> None:
        """Writes what is new, time and again, for as long as the call goes on."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            self.write()

    def write(self) -> None:
        """Writes what is new."""
        self._write("assistant", self._read_spoken().strip())
        self._write("user", " ".join(filter(None, [*self._heard, self._guess])).strip())

    def _write(self, role: str, text: str) -> None:
        row = self._written.get(role)
        if not text or (row and row["content"] == text):
            return
        if row is None:
            position = self._conversation.next_position()
            row = {"itemId": f"draft_{uuid.uuid4().hex}", "position": position, "role": role}
            row["createdAt"] = clock.now().isoformat()
        self._written[role] = {**row, "content": text}
        self._conversation.draft(self._written[role])


def read_spoken(session: AgentSession[Any] | None) -> str:
    """Returns what the customer has heard of the sentence that the agent is saying; nothing where that is not known."""
    if session is None or session.agent_state != "speaking":
        return ""
    # livekit-agents (1.8.9, contract-tested) keeps words and sound together there; nothing public tells.
    synchronizer = getattr(session.output.transcription, "_synchronizer", None)
    return synchronizer._impl.synchronized_transcript if synchronizer is not None else ""  # noqa: SLF001
