"""The page against a whole release: a customer opens it, talks by microphone, and reads what was said."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import jwt
from playwright.async_api import expect

from demo.script import SENTENCES
from testing.browser import TalkPage, chromium, open_page, write_wav
from testing.release import Release
from testing.release_calls import rows_of, voice_sessions, wait_for_end, wait_for_pod
from testing.transcripts import word_error_rate, words
from testing.waiting import eventually, stays

Speak = Callable[[str], bytes]

# A recording goes on whether it is answered or not. On a busy machine connecting alone has taken 9 s.
GREETING_SECONDS = 15.0
ANSWER_SECONDS = 15.0
ANSWER_MILLIS = 90_000
SILENCE_SECONDS = 600.0


def record(folder: Path, sentences: Sequence[bytes]) -> Path:
    """Writes the recording of a customer who leaves time for an answer after each sentence."""
    parts: list[bytes | float] = [GREETING_SECONDS]
    for sentence in sentences:
        parts += [sentence, ANSWER_SECONDS]
    return write_wav(folder / "microphone.wav", [*parts, SILENCE_SECONDS])


@contextlib.asynccontextmanager
async def browsing(microphone: Path, base_url: str) -> AsyncIterator[TalkPage]:
    """Yields the page in a browser of its own that hears this recording once."""
    async with chromium(microphone, loop=False) as browser, open_page(browser, base_url) as page:
        yield page


async def start(page: TalkPage) -> str:
    """Presses start; returns the room that the page was given."""
    async with page.tab.expect_response("**/api/token") as answer:
        await page.start()
    token = (await (await answer.value).json())["participant_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    return str(claims["video"]["room"])


async def until_turns(page: TalkPage, turns: int) -> None:
    """Waits until the customer was understood `turns` times and each was answered to its end."""
    answered = f"""() => {{
        const lines = [...document.querySelectorAll('#lines li')];
        const finals = lines.filter(li => li.dataset.state === 'final').map(li => li.dataset.who);
        return finals.filter((who, i) => who === 'agent' && finals[i - 1] === 'customer').length >= {turns};
    }}"""
    await page.tab.wait_for_function(answered, timeout=ANSWER_MILLIS)
    await page.until_look("listening")


async def until_understood(page: TalkPage, word: str) -> None:
    """Waits until the page shows a whole sentence of the customer with this word in it, and an answer to it."""
    answered = """word => {
        const lines = [...document.querySelectorAll('#lines li')].filter(li => li.dataset.state === 'final');
        const understood = li => li.dataset.who === 'customer' && li.textContent.toLowerCase().includes(word);
        const said = lines.findIndex(understood);
        return said >= 0 && lines.slice(said).some(li => li.dataset.who === 'agent');
    }"""
    await page.tab.wait_for_function(answered, arg=word, timeout=ANSWER_MILLIS)


async def hang_up(page: TalkPage) -> list[tuple[str, str]]:
    """Hangs up; returns the transcript that the page shows once the service has written it down."""
    await page.button("Hang up").click()
    await expect(page.tab.locator("#words-note")).to_have_text("As it was written down", timeout=ANSWER_MILLIS)
    return await page.lines()


def written(release: Release, room: str) -> list[tuple[str, str]]:
    """Returns what Postgres has of a conversation, in the page's terms."""
    messages = [row for row in rows_of(release, room) if row["kind"] == "message" and row["content"]]
    return [("customer" if row["role"] == "user" else "agent", row["content"]) for row in messages]


async def test_three_spoken_turns(release: Release, localhost_front_door: str, speak: Speak, tmp_path: Path) -> None:
    sentences = SENTENCES[:3]
    recording = record(tmp_path, [speak(sentence) for sentence in sentences])
    async with browsing(recording, localhost_front_door) as page:
        room = await start(page)
        await until_turns(page, 3)
        shown = await page.lines()
        await page.picture("release-call")
        transcript = await hang_up(page)
        await page.picture("release-transcript")
        timings = await page.tab.locator("#timings").inner_text()

    ended = wait_for_end(release, room)
    assert ended["status"]["endReason"] == "participant_left"
    assert transcript == written(release, room)
    heard = [text for who, text in transcript if who == "customer"]
    assert word_error_rate([" ".join(sentences)], [" ".join(heard)]) <= 0.15
    assert [text for who, text in shown if who == "customer"] == heard, "the page showed other words in the call"
    for label in ("Connected", "Agent in the room", "First word heard", "From your last word to the answer"):
        assert label in timings
    print(timings)


async def test_two_browsers_at_once(release: Release, localhost_front_door: str, speak: Speak, tmp_path: Path) -> None:
    stories = {"anna": "My suitcase was lost at the airport.", "robert": "The kitchen window is broken."}
    keys = {"anna": "suitcase", "robert": "window"}

    async def hold(name: str, story: str) -> tuple[str, list[tuple[str, str]], list[tuple[str, str]]]:
        folder = tmp_path / name
        folder.mkdir()
        # Who was not understood says it again.
        async with browsing(record(folder, [speak(story)] * 4), localhost_front_door) as page:
            room = await start(page)
            await until_understood(page, keys[name])
            return room, await page.lines(), await hang_up(page)

    calls = await asyncio.gather(*(hold(name, story) for name, story in stories.items()))
    sessions = [wait_for_end(release, room) for room, _, _ in calls]
    assert len({room for room, _, _ in calls}) == 2
    assert len({session["status"]["podName"] for session in sessions}) == 2
    for (room, shown, transcript), name, other in zip(calls, keys, reversed(keys), strict=True):
        assert transcript == written(release, room)
        everything = words(" ".join(text for _, text in [*shown, *transcript]))
        assert keys[name] in everything
        assert keys[other] not in everything


async def test_opening_the_page_takes_no_agent(release: Release, localhost_front_door: str, tmp_path: Path) -> None:
    before = voice_sessions(release)
    async with browsing(record(tmp_path, []), localhost_front_door) as page:
        for _ in range(30):
            await page.tab.reload()
        await expect(page.button("Start talking")).to_be_visible()
        await stays(lambda: voice_sessions(release) <= before, 2, "a look at the page made a VoiceSession")


async def test_one_call_after_another(release: Release, localhost_front_door: str, tmp_path: Path) -> None:
    rooms = []
    async with browsing(record(tmp_path, []), localhost_front_door) as page:
        for pause in (0, 1, 0):
            rooms.append(await start(page))
            await expect(page.tab.locator('#lines li[data-who="agent"]').first).to_be_visible(timeout=ANSWER_MILLIS)
            await page.until_look("listening")
            await page.button("Hang up").click()
            await page.until_look("ended")
            await expect(page.tab.locator("#milestones")).to_contain_text("First word heard")
            await stays(page.shows("ended"), pause, "the call's end was left without the customer")
    assert len(set(rooms)) == 3
    for room in rooms:
        assert wait_for_end(release, room)["status"]["phase"] == "Ended"


async def test_a_full_profile(release: Release, localhost_front_door: str, tmp_path: Path) -> None:
    profile = {
        "apiVersion": "voiceagents.dev/v1alpha1",
        "kind": "AgentProfile",
        "metadata": {"name": "page-full"},
        "spec": {"pool": "default", "displayName": "Nobody", "maxSessions": 0},
    }
    release.apply(profile)
    try:
        async with browsing(record(tmp_path, []), localhost_front_door) as page:
            await offer(page, "page-full")
            await page.tab.locator("#profile").select_option("page-full")
            await page.start()
            assert "Try again in" in await page.until_problem("full")
    finally:
        release.kubectl("delete", "agentprofile", "page-full")


async def offer(page: TalkPage, profile: str) -> None:
    """Reloads until the service, which watches profiles, offers this one."""

    async def is_offered() -> bool:
        if await page.tab.locator(f'#profile option[value="{profile}"]').count():
            return True
        await page.tab.reload(wait_until="networkidle")
        return False

    await eventually(is_offered, why=f"the page does not offer {profile}")


async def test_the_last_agent_that_is_killed(release: Release, localhost_front_door: str, tmp_path: Path) -> None:
    profile = {
        "apiVersion": "voiceagents.dev/v1alpha1",
        "kind": "AgentProfile",
        "metadata": {"name": "page-once"},
        "spec": {"pool": "default", "limits": {"maxAttempts": 1}},
    }
    release.apply(profile)
    try:
        async with browsing(record(tmp_path, []), localhost_front_door) as page:
            await offer(page, "page-once")
            await page.tab.locator("#profile").select_option("page-once")
            room = await start(page)
            await page.until_line("agent", "help you")
            release.kubectl("delete", "pod", wait_for_pod(release, room), "--grace-period=0", "--force")
            words_shown = await page.until_problem("agent-lost", ANSWER_MILLIS)
            assert "Start again" in words_shown
            assert [text for who, text in await page.lines() if who == "agent"], "what was said is gone"
        assert wait_for_end(release, room)["status"]["reason"] == "PodDeleted"
    finally:
        release.kubectl("delete", "agentprofile", "page-once")
