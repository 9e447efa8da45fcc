"""Texts synthesized ahead: found again, bounded, and no trouble when a provider fails."""

from testing.waiting import let_others_run
from voice_agent.apology import recorded_apology
from voice_agent.spoken_cache import FRAME_SAMPLES, LARGEST_BYTES, SpokenCache, build_frames
from voicesession.assignment import Greeting

HELLO = Greeting(provider="fake", voice="alloy", text="Hello.")


class Synthesizer:
    """Notes what it is asked; a text that begins with `fail` fails."""

    def __init__(self, size: int = 100) -> None:
        self.asked: list[str] = []
        self.size = size

    async def __call__(self, greeting: Greeting) -> bytes:
        self.asked.append(greeting.text)
        await let_others_run()
        if greeting.text.startswith("fail"):
            raise RuntimeError("no voice")
        return bytes(self.size)


async def prepared(cache: SpokenCache, *texts: Greeting) -> None:
    cache.prepare(texts)
    assert cache._task is not None
    await cache._task


async def test_what_was_prepared_is_found() -> None:
    cache = SpokenCache(Synthesizer())
    await prepared(cache, HELLO)
    assert cache.find(HELLO) == bytes(100)
    assert cache.find(HELLO.model_copy(update={"text": "Hi."})) is None
    assert cache.find(HELLO.model_copy(update={"voice": "nova"})) is None


async def test_a_new_list_keeps_what_it_shares_and_forgets_the_rest() -> None:
    synthesizer = Synthesizer()
    cache = SpokenCache(synthesizer)
    other, new = (HELLO.model_copy(update={"text": text}) for text in ("Good day.", "Good evening."))
    await prepared(cache, HELLO, other)
    await prepared(cache, HELLO, new)
    assert synthesizer.asked == ["Hello.", "Good day.", "Good evening."]
    assert cache.find(other) is None


async def test_a_failure_spoils_no_other_text() -> None:
    cache = SpokenCache(Synthesizer())
    failing = HELLO.model_copy(update={"text": "fail"})
    await prepared(cache, failing, HELLO)
    assert cache.find(failing) is None
    assert cache.find(HELLO) is not None


async def test_memory_is_bounded() -> None:
    cache = SpokenCache(Synthesizer(size=LARGEST_BYTES // 2))
    texts = [HELLO.model_copy(update={"text": str(number)}) for number in range(4)]
    await prepared(cache, *texts)
    assert [cache.find(text) is not None for text in texts] == [True, True, False, False]


async def test_frames_are_whole() -> None:
    pcm = b"\1\0" * (FRAME_SAMPLES + 10)
    frames = [frame async for frame in build_frames(pcm)]
    assert [frame.samples_per_channel for frame in frames] == [FRAME_SAMPLES, FRAME_SAMPLES]
    joined = b"".join(bytes(frame.data) for frame in frames)
    assert joined.startswith(pcm)
    assert not any(joined[len(pcm) :])


def test_the_recorded_apology_is_there() -> None:
    assert len(recorded_apology()) > 2 * 24_000 * 2
