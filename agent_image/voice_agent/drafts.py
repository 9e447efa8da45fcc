"""What both sides are saying at this moment, written a little behind; and what was heard and became no message."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from livekit.agents import AgentSession

from voice_agent.conversation_items import Row
from voice_agent.conversation_log import ConversationLog
from voicesession import clock

# A sentence is written when it lasts as long, and as often: short ones cost nothing.
PERIOD_SECONDS = 1.5
# Of what the customer has said a message comes when their turn is over and the agent's code has seen it. If none does
# for so long, none will: the code wants no answer, has failed, or was passing the conversation on.
SETTLED_SECONDS = 20.0
# Or of so much: somebody who only listens hears no end of a turn.
SETTLED_CHARACTERS = 2_000
# So far back a message that comes late is looked for.
_MOST_PIECES = 200


@dataclass
class _Piece:
    """A part of what the customer has said, whole; `written`: it is a row."""

    text: str
    at: float  # seconds of the epoch
    written: bool = False


class Drafts:
    """The sentences in progress, one of each side."""

    def __init__(
        self, conversation: ConversationLog, read_spoken: Callable[[], str], now: Callable[[], float] = time.time
    ) -> None:
        """`read_spoken` returns how much of the agent's sentence has been heard; nothing while it is silent."""
        self._conversation = conversation
        self._read_spoken = read_spoken
        self._now = now
        self._heard: list[_Piece] = []
        self._guess = ""
        self._written: dict[str, Row] = {}  # by role

    def hear(self, transcript: str, *, is_final: bool) -> None:
        """Takes a piece of what the customer says; the next one comes in place of a piece that is not final."""
        self._guess = "" if is_final else transcript
        if is_final:
            self._heard = [*self._heard[-_MOST_PIECES:], _Piece(transcript, self._now())]

    def complete(self, row: Row, *, spoken: bool = True) -> list[Row]:
        """Returns the rows that a whole message makes, in the place of its draft.

        What was heard before it and is in no message comes first; what is a row already is none again. `spoken`: it
        was, and not typed.
        """
        if row["role"] == "user" and spoken:
            return self._complete_heard(row)
        return [self._in_place(row)] if row["role"] != "user" else [row]

    def _complete_heard(self, row: Row) -> list[Row]:
        found = _find(row.get("content") or "", self._heard)
        if found is None:
            # The agent's code has changed it, or this is what a realtime model has heard.
            self._heard, self._guess = [], ""
            return [self._in_place(row)]
        first, last = found
        earlier, its = self._heard[:first], self._heard[first:last]
        self._heard = self._heard[last:]
        rows = self._build_row(earlier)
        if all(piece.written for piece in its):
            return rows
        new = " ".join(piece.text.strip() for piece in its if not piece.written)
        is_whole = not any(piece.written for piece in its)
        return [*rows, self._in_place(row if is_whole else {**row, "content": new})]

    def rest(self) -> list[Row]:
        """Returns the row of what was heard and is in no message, when nothing more comes."""
        guess, self._guess = self._guess.strip(), ""
        pieces = [*self._heard, _Piece(guess, self._now())] if guess else self._heard
        self._heard = []
        return [self._in_place({**row, "interrupted": bool(guess)}) for row in self._build_row(pieces)]

    async def keep_written(self) -> None:
        """Writes what is new, time and again, for as long as the call goes on."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            self.write()

    def write(self) -> None:
        """Writes what is new."""
        self._settle()
        self._write("assistant", self._read_spoken().strip())
        unwritten = (piece.text for piece in self._heard if not piece.written)
        self._write("user", " ".join(filter(None, [*unwritten, self._guess])).strip())

    def _settle(self) -> None:
        """Makes a row of what no message has come of, and none will."""
        open_ = [piece for piece in self._heard if not piece.written]
        is_silent = open_ and not self._guess and open_[-1].at + SETTLED_SECONDS <= self._now()
        if is_silent or sum(len(piece.text) for piece in open_) > SETTLED_CHARACTERS:
            self._conversation.append([self._in_place(row) for row in self._build_row(open_)])

    def _build_row(self, pieces: Sequence[_Piece]) -> list[Row]:
        new = [piece for piece in pieces if not piece.written]
        text = " ".join(piece.text.strip() for piece in new).strip()
        if not text:
            return []
        for piece in new:
            piece.written = True
        at = datetime.fromtimestamp(new[0].at, UTC).isoformat()
        row = {"itemId": f"heard_{uuid.uuid4().hex}", "kind": "message", "role": "user", "content": text}
        return [{**row, "createdAt": at, "interrupted": False}]

    def _in_place(self, row: Row) -> Row:
        draft = self._written.pop(row["role"], None)
        return {**row, "itemId": draft["itemId"], "position": draft["position"]} if draft else row

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


def _find(text: str, heard: Sequence[_Piece]) -> tuple[int, int] | None:
    """Returns where, among what was heard, the message of this text begins and ends: it is made of pieces in a row."""
    wanted = _words(text)
    for first in range(len(heard)):
        found = ""
        for last in range(first, len(heard)):
            found += _words(heard[last].text)
            if found == wanted:
                return first, last + 1
            if not wanted.startswith(found):
                break
    return None


def _words(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def read_spoken(session: AgentSession[Any] | None) -> str:
    """Returns what the customer has heard of the sentence that the agent is saying; nothing where that is not known."""
    if session is None or session.agent_state != "speaking":
        return ""
    # livekit-agents (1.8.9, contract-tested) keeps words and sound together there; nothing public tells.
    synchronizer = getattr(session.output.transcription, "_synchronizer", None)
    return synchronizer._impl.synchronized_transcript if synchronizer is not None else ""  # noqa: SLF001
