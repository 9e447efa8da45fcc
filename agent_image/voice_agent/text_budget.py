"""How much one participant may type: how long, how often, in all. Pure."""

from collections import deque
from enum import StrEnum

from voicesession.models import TextInput

MINUTE = 60.0


class TextRefusal(StrEnum):
    """Why a text is not read."""

    TOO_LONG = "too-long"
    TOO_OFTEN = "too-often"
    TOO_MUCH = "too-much"


class TextBudget:
    """What is left of a profile's `textInput` for one participant. Sizes are bytes of UTF-8, times are seconds."""

    def __init__(self, limits: TextInput) -> None:
        """Begins with all of it."""
        self._limits = limits
        self._begun: deque[float] = deque()
        self._spent = 0
        self._spent_before = 0

    @property
    def spent(self) -> int:
        """How many bytes of the conversation's were used, by earlier attempts at it too."""
        return self._spent_before + self._spent

    def know(self, spent: int) -> None:
        """Counts what earlier attempts at the conversation have used, which may be told again."""
        self._spent_before = max(self._spent_before, spent)

    def begin(self, now: float) -> TextRefusal | None:
        """Counts a text that begins; returns why it is not read, or None where it may be."""
        while self._begun and self._begun[0] <= now - MINUTE:
            self._begun.popleft()
        if len(self._begun) >= self._limits.messages_per_minute:
            return TextRefusal.TOO_OFTEN
        self._begun.append(now)
        return None

    def check(self, size: int) -> TextRefusal | None:
        """Returns why a text of this size, so far, is not read any further; None where it may be."""
        if size > self._limits.max_message_bytes:
            return TextRefusal.TOO_LONG
        return TextRefusal.TOO_MUCH if self.spent + size > self._limits.max_conversation_bytes else None

    def spend(self, size: int) -> TextRefusal | None:
        """Counts a whole text, which was read; returns why it is refused, and not counted, or None."""
        refusal = self.check(size)
        if refusal is None:
            self._spent += size
        return refusal

    def tell(self, refusal: TextRefusal) -> str:
        """Returns the refusal in a sentence for whoever has typed."""
        limits = self._limits
        match refusal:
            case TextRefusal.TOO_LONG:
                return f"Your message was not read: it is longer than {limits.max_message_bytes} bytes."
            case TextRefusal.TOO_OFTEN:
                return f"Your message was not read: {limits.messages_per_minute} a minute are read. Wait a moment."
            case TextRefusal.TOO_MUCH:
                return "Your message was not read: no more can be typed in this call. You can go on by voice."
