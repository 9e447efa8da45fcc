"""Keeps an agent session's `userdata` for a later attempt, where it is JSON and has changed."""

import json
from typing import Any

from livekit.agents import AgentSession

from voice_agent.conversation_log import ConversationLog
from voice_agent.memory import LARGEST_BYTES


class Userdata:
    """One session's, from its start on."""

    def __init__(self, conversation: ConversationLog, session: AgentSession[Any]) -> None:
        """What it holds now need not be kept: whoever goes on begins with the same."""
        self._conversation = conversation
        self._session = session
        self._kept = self._read()

    def keep(self) -> None:
        """Keeps it, if it has changed. Never waits."""
        text = self._read()
        if text is not None and text != self._kept:
            self._kept = text
            self._conversation.keep("userdata", json.loads(text))

    def _read(self) -> str | None:
        try:
            text = json.dumps(self._session.userdata, allow_nan=False)
        except (TypeError, ValueError):
            # No JSON, or there is none: ValueError is livekit-agents' word for that.
            return None
        return text if len(text) <= LARGEST_BYTES else None
