"""Keeps what a customer types before there is an agent session that could take it.

The agent is seen in the room before its session runs; LiveKit drops a text that nobody takes in that moment.
"""

from collections import deque

from livekit.rtc.data_stream import TextStreamHandler, TextStreamReader

# Of a customer who has waited for as long as an agent may take to start.
MOST_HELD = 20


class EarlyChat:
    """The texts of one topic, on their way to whoever takes them. A full hold drops the oldest."""

    def __init__(self) -> None:
        """Holds texts until there is a taker."""
        self._held: deque[tuple[TextStreamReader, str]] = deque(maxlen=MOST_HELD)
        self._taker: TextStreamHandler | None = None
        self._holding = False

    def come(self, reader: TextStreamReader, identity: str) -> None:
        """A text of this participant has begun."""
        self._held.append((reader, identity))
        self._pass_on()

    def give_to(self, taker: TextStreamHandler) -> None:
        """Has `taker` take the texts that were held, and all that come.

        Raises:
            ValueError: somebody else takes them.
        """
        if self._taker is not None:
            raise ValueError("the chat has its handler already")
        self._taker = taker
        self._pass_on()

    def take_away(self) -> None:
        """Nobody takes texts any more."""
        self._taker = None

    def hold(self) -> None:
        """The taker's agent session starts, and could do nothing with a text."""
        self._holding = True

    def release(self) -> None:
        """It runs."""
        self._holding = False
        self._pass_on()

    def _pass_on(self) -> None:
        if self._taker is None or self._holding:
            return
        while self._held:
            self._taker(*self._held.popleft())
