"""What is typed is read within its limits, and given on whole and in its order."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from livekit.rtc.data_stream import StreamError

from testing.waiting import eventually, let_others_run
from voice_agent.text_budget import TextRefusal
from voice_agent.typed_text import MOST_OPEN, TypedText
from voicesession.models import TextInput

LIMITS = TextInput(max_message_bytes=10, messages_per_minute=20, max_conversation_bytes=1000)


class Stream:
    """A text stream as LiveKit's library gives it: parts come, then the end."""

    def __init__(self, *parts: str, open_: bool = False) -> None:
        self.info = SimpleNamespace(topic="lk.chat")
        self.parts: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self.closed = False
        self.read = 0
        for part in parts:
            self.parts.put_nowait(part)
        if not open_:
            self.parts.put_nowait(None)

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> str:
        part = await self.parts.get()
        if isinstance(part, Exception):
            raise part
        if part is None:
            raise StopAsyncIteration
        self.read += len(part)
        return part

    def close(self) -> None:
        self.closed = True


class Room:
    """Who takes the texts, and who is told of those that are refused."""

    def __init__(self, limits: TextInput = LIMITS) -> None:
        self.readers: list[Any] = []
        self.refused: list[tuple[str, TextRefusal]] = []
        self.used: list[dict[str, int]] = []
        self.typed = TypedText(
            limits,
            give=lambda reader, identity: self.readers.append((reader, identity)),
            refuse=lambda identity, refusal, _: self.refused.append((identity, refusal)),
            on_read=self.used.append,
        )

    def come(self, *streams: Stream, identity: str = "ada") -> None:
        for stream in streams:
            self.typed.come(cast("Any", stream), identity)

    async def texts(self) -> list[str]:
        return [await reader.read_all() for reader, _ in self.readers]


async def test_a_text_is_given_on_whole_with_what_came_with_it() -> None:
    room, stream = Room(), Stream("Hel", "lo")
    room.come(stream)
    await eventually(lambda: room.readers)
    reader, identity = room.readers[0]
    assert (reader.info, identity) == (stream.info, "ada")
    assert [part async for part in reader] == ["Hello"]
    assert [part async for part in reader] == []
    assert stream.closed


async def test_texts_keep_their_order_whichever_is_whole_first() -> None:
    room, slow, fast = Room(), Stream("one", open_=True), Stream("two")
    room.come(slow, fast)
    await eventually(lambda: fast.closed)
    assert not room.readers
    slow.parts.put_nowait(None)
    await eventually(lambda: len(room.readers) == 2)
    assert await room.texts() == ["one", "two"]


async def test_a_text_that_is_too_long_is_read_no_further_than_its_limit() -> None:
    room, flood = Room(), Stream(*["abcd"] * 1000)
    room.come(flood, Stream("short"))
    await eventually(lambda: room.readers)
    assert await room.texts() == ["short"]
    assert room.refused == [("ada", TextRefusal.TOO_LONG)]
    assert flood.read == 12
    assert flood.closed


async def test_sizes_are_bytes() -> None:
    room = Room()
    room.come(Stream("ж" * 6), Stream("ж" * 5))
    await eventually(lambda: room.readers)
    assert await room.texts() == ["ж" * 5]


async def test_a_flood_of_one_does_not_silence_another() -> None:
    room = Room(LIMITS.model_copy(update={"messages_per_minute": 2}))
    streams = [Stream("x") for _ in range(5)]
    room.come(*streams)
    room.come(Stream("hi"), identity="eve")
    await eventually(lambda: len(room.readers) == 3)
    assert room.refused == [("ada", TextRefusal.TOO_OFTEN)] * 3
    assert [identity for _, identity in room.readers] == ["ada", "ada", "eve"]
    assert all(stream.closed for stream in streams)


async def test_streams_that_are_left_open_are_few() -> None:
    room = Room()
    streams = [Stream(open_=True) for _ in range(MOST_OPEN + 2)]
    room.come(*streams)
    assert room.refused == [("ada", TextRefusal.TOO_OFTEN)] * 2
    assert [stream.closed for stream in streams[-3:]] == [False, True, True]
    for stream in streams:
        stream.parts.put_nowait(None)
    await let_others_run()


async def test_a_text_that_breaks_off_holds_no_other_up(caplog: pytest.LogCaptureFixture) -> None:
    room, broken = Room(), Stream("a secret", open_=True)
    room.come(broken, Stream("whole"))
    broken.parts.put_nowait(StreamError("aborted"))
    await eventually(lambda: room.readers)
    assert await room.texts() == ["whole"]
    assert room.refused == []
    assert "a secret" not in caplog.text


async def test_who_goes_on_with_a_conversation_knows_what_was_typed_before() -> None:
    before, after = Room(), Room(LIMITS.model_copy(update={"max_conversation_bytes": 12}))
    before.come(Stream("hello"), Stream("ж"))
    before.come(Stream("hi"), identity="eve")
    await eventually(lambda: len(before.readers) == 3)
    assert before.used[-1] == {"ada": 7, "eve": 2}
    after.typed.know(before.used[-1])
    after.come(Stream("hello"), Stream("!"))
    await eventually(lambda: after.refused)
    assert await after.texts() == ["hello"]
    assert after.refused == [("ada", TextRefusal.TOO_MUCH)]
