"""Reads what participants type, within their budgets, and gives it on whole: nothing unbounded reaches an agent."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from livekit.rtc.data_stream import StreamError, TextStreamInfo, TextStreamReader

from voice_agent.text_budget import TextBudget, TextRefusal
from voicesession.models import TextInput

# Of a text that has begun. Nobody types in the stream itself: a client sends what is there already.
READ_SECONDS = 10.0
# Texts that are being read at a time; a client sends one after the other.
MOST_OPEN = 8

log = logging.getLogger(__name__)


class WholeText(TextStreamReader):
    """A text that was read, for whoever expects to read it from the stream."""

    def __init__(self, text: str, info: TextStreamInfo) -> None:
        """Nothing of LiveKit's library is behind it."""
        self._info = info
        self._text = text

    async def __anext__(self) -> str:
        text, self._text = self._text, ""
        if not text:
            raise StopAsyncIteration
        return text

    def close(self) -> None:
        """Forgets what was not taken."""
        self._text = ""

    async def aclose(self) -> None:
        """As `close`."""
        self.close()


class _RefusedError(Exception):
    def __init__(self, refusal: TextRefusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


@dataclass
class TypedText:
    """The texts of one topic, on their way to `give`, in the order in which they began.

    refuse: told of each text that is not read, with who typed it, why, and a sentence for them. on_read: told of each
    that is, with the bytes that everybody has used so far.
    """

    limits: TextInput
    give: Callable[[TextStreamReader, str], None]
    refuse: Callable[[str, TextRefusal, str], None]
    on_read: Callable[[dict[str, int]], None] = lambda _: None
    _budgets: dict[str, TextBudget] = field(default_factory=dict)
    _reading: list["asyncio.Task[tuple[TextStreamReader, str] | None]"] = field(default_factory=list)

    def know(self, used: Mapping[str, int]) -> None:
        """Counts what was typed in earlier attempts at the conversation, in bytes by identity."""
        for identity, spent in used.items():
            self._budget_of(identity).know(spent)

    def come(self, reader: TextStreamReader, identity: str) -> None:
        """A text of this participant has begun."""
        budget = self._budget_of(identity)
        refusal = budget.begin(time.monotonic())
        if refusal is None and len(self._reading) >= MOST_OPEN:
            refusal = TextRefusal.TOO_OFTEN
        if refusal is not None:
            reader.close()
            self.refuse(identity, refusal, budget.tell(refusal))
            return
        task = asyncio.create_task(self._read(reader, identity, budget), name="typed text")
        self._reading.append(task)
        task.add_done_callback(lambda _: self._give_on())

    async def _read(
        self, reader: TextStreamReader, identity: str, budget: TextBudget
    ) -> tuple[TextStreamReader, str] | None:
        try:
            text = await self._read_whole(reader, budget)
        except _RefusedError as error:
            self.refuse(identity, error.refusal, budget.tell(error.refusal))
            return None
        except (StreamError, TimeoutError) as error:
            log.warning("a typed text broke off", extra={"error": type(error).__name__})
            return None
        finally:
            reader.close()
        self.on_read({each: budget.spent for each, budget in self._budgets.items()})
        return WholeText(text, reader.info), identity

    def _budget_of(self, identity: str) -> TextBudget:
        return self._budgets.setdefault(identity, TextBudget(self.limits))

    @staticmethod
    async def _read_whole(reader: TextStreamReader, budget: TextBudget) -> str:
        parts, size = [], 0
        async with asyncio.timeout(READ_SECONDS):
            async for part in reader:
                size += len(part.encode(errors="surrogatepass"))
                if refusal := budget.check(size):
                    raise _RefusedError(refusal)
                parts.append(part)
        if refusal := budget.spend(size):
            raise _RefusedError(refusal)
        return "".join(parts)

    def _give_on(self) -> None:
        while self._reading and self._reading[0].done():
            task = self._reading.pop(0)
            if not task.cancelled() and (read := task.result()):
                self.give(*read)
