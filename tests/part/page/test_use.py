"""The page as its customers use it, in a real browser: keyboard, typing, mute, choices, and one call after another."""

import json
import re
from typing import Any

from playwright.async_api import Browser, expect

from testing.browser import TalkPage, check_accessibility, open_page
from testing.page_stage import Refusal, Stage
from testing.waiting import eventually, stays

# Lets a test answer the browser's question for the microphone, and take microphones away.
MICROPHONES = """
    window.tracks = [];
    window.allowed = Promise.resolve();
    window.failures = 0;
    const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wish) => {
        await window.allowed;
        if (window.failures > 0) {
            window.failures -= 1;
            throw new DOMException('it is in use', 'NotReadableError');
        }
        const stream = await open(wish);
        window.tracks.push(...stream.getTracks());
        return stream;
    };
    window.unplug = () => window.tracks.splice(0).forEach((track) => {
        track.stop();
        track.dispatchEvent(new Event('ended'));
    });
    window.take = (muted) => window.tracks.forEach((track) => {
        Object.defineProperty(track, 'muted', { value: muted, configurable: true });
        track.dispatchEvent(new Event(muted ? 'mute' : 'unmute'));
    });
"""
ASKING = """
    window.allowed = new Promise((resolve) => { window.allow = resolve; });
    navigator.permissions.query = async () => ({ state: 'prompt' });
"""
# As a browser that plays no sound of a page's own accord.
SILENCED = """
    const play = HTMLMediaElement.prototype.play;
    window.silenced = true;
    HTMLMediaElement.prototype.play = function () {
        return window.silenced ? Promise.reject(new DOMException('click first', 'NotAllowedError')) : play.call(this);
    };
"""
# Tells of the locks that keep the screen on.
WAKE_LOCKS = """
    window.locks = [];
    const request = navigator.wakeLock.request.bind(navigator.wakeLock);
    navigator.wakeLock.request = async (kind) => {
        const lock = await request(kind);
        window.locks.push(lock);
        return lock;
    };
"""
# As iOS in a phone call: sound stops, and cannot be started again before the phone call is over.
PHONE_CALLS = """
    window.contexts = [];
    window.AudioContext = class extends AudioContext {
        constructor(...options) {
            super(...options);
            window.contexts.push(this);
        }
        resume() {
            return window.phoneCall ? Promise.reject(new DOMException('later', 'InvalidStateError')) : super.resume();
        }
    };
"""


async def prepare(page: TalkPage, *scripts: str) -> None:
    """Loads the page again into a browser that was changed by these scripts."""
    for script in scripts:
        await page.tab.add_init_script(script)
    await page.tab.reload()


async def test_reloading_takes_no_agent(stage: Stage, page: TalkPage) -> None:
    for _ in range(10):
        await page.tab.reload()
    await expect(page.button("Start talking")).to_be_visible()
    assert stage.token_requests == []


async def test_start_and_end_again_and_again(stage: Stage, page: TalkPage) -> None:
    for number, pause in enumerate((0, 1, 0), start=1):
        await stage.keep_spare()
        await page.start()
        agent = await stage.until_talking(page, number)
        await agent.until("heard", audible=True)
        await page.button("Hang up").click()
        await page.until_look("ended")
        await stays(page.shows("ended"), pause, "the call's end was left without the customer")
    assert len(set(stage.rooms)) == len(stage.rooms) == 3
    await eventually(lambda: stage.ended_rooms == stage.rooms, why="each end was asked for: nobody waits for them")


async def test_a_typed_message(stage: Stage, page: TalkPage) -> None:
    await page.start()
    agent = await stage.until_talking(page)
    box = page.tab.get_by_placeholder("Or type a message")
    await box.fill("Please call me Ada.")
    await page.button("Send the message").click()
    await agent.until("chat", text="Please call me Ada.")
    assert ("customer", "Please call me Ada.") in await page.lines()
    await expect(box).to_have_value("")


async def test_a_message_that_nobody_would_read_is_kept(stage: Stage, page: TalkPage) -> None:
    stage.script = None
    await page.start()
    await stage.until_customer()
    box = page.tab.get_by_placeholder("Or type a message")
    await box.fill("Is anybody there?")
    await page.tab.keyboard.press("Enter")
    await expect(page.tab.locator("#words-note")).to_contain_text("Not sent")
    await expect(box).to_have_value("Is anybody there?")
    agent = await stage.send_agent(stage.rooms[-1])
    await page.until_look("listening", "hearing")
    await page.tab.keyboard.press("Enter")
    await agent.until("chat", text="Is anybody there?")
    await expect(page.tab.locator("#words-note")).to_be_empty()


async def test_mute_is_heard_by_the_agent(stage: Stage, page: TalkPage) -> None:
    await page.start()
    agent = await stage.until_talking(page)
    await agent.until("heard", audible=True)
    meter = page.tab.get_by_role("meter", name="Microphone level")
    await expect(meter).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
    await page.button("Mute").click()
    await expect(page.button("Unmute")).to_have_attribute("aria-pressed", "true")
    await expect(meter).to_have_attribute("aria-valuenow", "0")
    muted = agent.count("heard", audible=True)
    # What was on its way may still arrive; the recording speaks every 3 s.
    await stays(lambda: agent.count("heard", audible=True) <= muted + 1, 7, "a muted customer is heard")
    reports = len(agent.reports)
    await page.button("Unmute").click()
    await agent.until("heard", after=reports, audible=True)


async def test_who_mutes_before_the_microphone_is_open_is_not_heard(stage: Stage, page: TalkPage) -> None:
    await prepare(page, MICROPHONES, ASKING)
    await page.start()
    await expect(page.tab.locator("#hint")).to_contain_text("Your browser asks for the microphone")
    await page.picture("asking")
    assert stage.token_requests == []
    await page.button("Mute").click()
    await page.tab.evaluate("window.allow()")
    agent = await stage.until_talking(page)
    await expect(page.headline).to_have_text("You are muted")
    # The recording speaks every 3 s.
    await stays(lambda: not agent.count("heard", audible=True), 4, "a muted customer is heard")
    await page.button("Unmute").click()
    await agent.until("heard", audible=True)


async def test_a_microphone_that_is_unplugged(stage: Stage, page: TalkPage) -> None:
    await prepare(page, MICROPHONES)
    await page.start()
    agent = await stage.until_talking(page)
    await agent.until("heard", audible=True)
    # Another one takes over by itself, and its level is shown.
    await page.tab.evaluate("window.unplug()")
    await agent.until("heard", after=len(agent.reports), audible=True)
    await page.until_look("hearing")
    # Where there is no other, the page says so, and muting is undone once there is one.
    await page.tab.evaluate("window.failures = Infinity; window.unplug()")
    await expect(page.headline).to_have_text("You are muted")
    await expect(page.tab.locator("#words-note")).to_contain_text("The microphone is gone")
    await page.button("Unmute").click()
    await expect(page.button("Unmute")).to_be_visible()
    await page.tab.evaluate("window.failures = 0")
    reports = len(agent.reports)
    await page.button("Unmute").click()
    await agent.until("heard", after=reports, audible=True)


async def test_a_device_that_takes_the_microphone_away_for_a_while(stage: Stage, page: TalkPage) -> None:
    await prepare(page, MICROPHONES)
    await page.start()
    await stage.until_talking(page)
    await page.tab.evaluate("window.take(true)")
    await expect(page.headline).to_have_text("You are not heard")
    await expect(page.tab.locator("#announcer")).to_contain_text("such as a phone call")
    await page.tab.evaluate("window.take(false)")
    await expect(page.headline).to_have_text(re.compile("^(Listening|Hearing you)$"))


async def test_sound_that_was_stopped_by_a_phone_call_is_measured_again(stage: Stage, page: TalkPage) -> None:
    await prepare(page, PHONE_CALLS)
    await page.start()
    await stage.until_talking(page)
    assert await page.tab.evaluate("window.contexts[0].state") == "running"
    await page.tab.evaluate("window.phoneCall = true; window.contexts[0].suspend()")
    await stays(lambda: page.tab.evaluate("window.contexts[0].state === 'suspended'"), 1, "it is no phone call")
    await page.tab.evaluate("window.phoneCall = false")
    await eventually(lambda: page.tab.evaluate("window.contexts[0].state === 'running'"))
    await page.until_look("hearing")


async def test_the_screen_stays_on_during_a_call(stage: Stage, page: TalkPage) -> None:
    async def released() -> list[bool]:
        return list(await page.tab.evaluate("window.locks.map((lock) => lock.released)"))

    async def are(*wanted: bool) -> None:
        async def hold() -> bool:
            return await released() == list(wanted)

        await eventually(hold, why="the locks on the screen")

    await prepare(page, WAKE_LOCKS)
    assert await released() == []
    await page.start()
    await stage.until_talking(page)
    await are(False)
    # The browser takes it back when the page is hidden; here it is seen again.
    await page.tab.evaluate(
        "window.locks[0].release().then(() => document.dispatchEvent(new Event('visibilitychange')))"
    )
    await are(True, False)
    await page.button("Hang up").click()
    await are(True, True)


async def test_another_microphone_that_does_not_start(stage: Stage, page: TalkPage) -> None:
    await prepare(page, MICROPHONES)
    await page.start()
    agent = await stage.until_talking(page)
    microphone, note = page.tab.locator("#microphone"), page.tab.locator("#words-note")
    before, *others = await microphone.locator("option").all_inner_texts()
    await page.tab.evaluate("window.failures = 1")
    await microphone.select_option(others[-1])
    await expect(note).to_contain_text("the one before it is on again")
    await expect(microphone.locator("option:checked")).to_have_text(before)
    await agent.until("heard", after=len(agent.reports), audible=True)
    await page.tab.evaluate("window.failures = 2")
    await microphone.select_option(others[-1])
    await expect(note).to_contain_text("The microphone is gone")
    reports = len(agent.reports)
    await page.button("Unmute").click()
    await agent.until("heard", after=reports, audible=True)


async def test_a_browser_that_plays_nothing_unasked(stage: Stage, page: TalkPage) -> None:
    await prepare(page, SILENCED)
    await page.start()
    await stage.until_agent()
    allow = page.button("Let me hear the agent")
    await expect(allow).to_be_visible()
    await page.tab.evaluate("window.silenced = false")
    await allow.click()
    await expect(allow).to_be_hidden()


async def test_the_keyboard_is_enough(stage: Stage, page: TalkPage) -> None:
    keyboard = page.tab.keyboard
    await expect(page.button("Start talking")).to_be_visible()
    await press_until(page, "Tab", "start")
    await keyboard.press("Enter")
    agent = await stage.until_talking(page)
    await press_until(page, "Tab", "mute")
    await keyboard.press("Space")
    await expect(page.headline).to_have_text("You are muted")
    await keyboard.press("Space")
    await press_until(page, "Tab", "message")
    await keyboard.type("Hello by hand")
    await keyboard.press("Enter")
    await agent.until("chat", text="Hello by hand")
    await press_until(page, "Shift+Tab", "hang-up")
    await keyboard.press("Enter")
    await page.until_look("ended")
    await press_until(page, "Tab", "start")
    await keyboard.press("Enter")
    await stage.until_talking(page, call=2)


async def press_until(page: TalkPage, key: str, wanted: str) -> None:
    for _ in range(12):
        await page.tab.keyboard.press(key)
        if await page.tab.evaluate("document.activeElement.id") == wanted:
            return
    raise AssertionError(f"{key} does not reach #{wanted}")


async def test_what_is_chosen_is_asked_for(stage: Stage, browser: Browser) -> None:
    stage.profiles = [
        {"name": "default", "displayName": "Ada", "providers": ["local"], "localMode": True},
        {"name": "bank", "displayName": "the bank", "providers": ["local", "openai"], "localMode": True},
    ]
    async with open_page(browser, stage.base_url) as page:
        provider = page.tab.locator("#provider")
        await expect(page.headline).to_have_text("Talk with Ada")
        await expect(provider).to_be_hidden()
        await page.tab.locator("#profile").select_option("the bank")
        await expect(page.headline).to_have_text("Talk with the bank")
        await provider.select_option("openai")
        await page.start()
        await stage.until_talking(page)
        await page.button("Hang up").click()
        await page.tab.get_by_text("Change how you talk").click()
        await page.tab.get_by_role("switch").check()
        await expect(provider).to_be_disabled()
        await page.start()
        await expect(page.tab.get_by_text("On local models")).to_be_visible()
        await stage.until_agent(2)
    assert [chosen(request) for request in stage.token_requests] == [
        ("bank", {"llm_provider": "openai"}),
        ("bank", {"is_local_mode": "true"}),
    ]


def chosen(request: dict[str, Any]) -> tuple[str, dict[str, str]]:
    agent = request["room_config"]["agents"][0]
    return agent["agent_name"], json.loads(agent["metadata"])


async def test_a_page_without_choices_shows_none(stage: Stage, page: TalkPage) -> None:
    await expect(page.headline).to_have_text("Talk with the assistant")
    for field in ("#profile", "#provider"):
        await expect(page.tab.locator(field)).to_be_hidden()
    await expect(page.tab.get_by_role("switch")).to_be_hidden()
    await page.start()
    await stage.until_talking(page)
    assert stage.token_requests[0]["room_config"]["agents"] == [{"agent_name": "default"}]


async def test_another_microphone_in_the_middle_of_a_call(stage: Stage, page: TalkPage) -> None:
    await prepare(page, MICROPHONES)
    await page.start()
    agent = await stage.until_talking(page)
    microphone = page.tab.locator("#microphone")
    options = await microphone.locator("option").all_inner_texts()
    assert len(options) > 1
    await microphone.select_option(options[-1])
    heard = agent.count("heard", audible=True)
    # Of the old one a last sound may still be on its way.
    await eventually(lambda: agent.count("heard", audible=True) >= heard + 2)
    chosen_one = await microphone.input_value()
    await page.button("Hang up").click()
    # A choice for the next call opens no microphone.
    await page.tab.get_by_text("Change how you talk").click()
    await page.tab.locator("#choices select.microphones").select_option(options[0])
    await page.tab.locator("#choices select.microphones").select_option(chosen_one)
    await page.tab.wait_for_timeout(500)
    assert await page.tab.evaluate("window.tracks.map((track) => track.readyState)") == ["ended", "ended"]
    await page.tab.reload()
    await expect(page.tab.locator("#choices select.microphones")).to_have_value(chosen_one)


async def test_nothing_is_wrong_by_the_rules_of_accessibility(stage: Stage, page: TalkPage) -> None:
    stage.transcript = [{"role": "assistant", "content": "Hello.", "interrupted": True, "kind": "message"}]
    await check_accessibility(page.tab)
    stage.refusal = Refusal(429, {"retryAfterSeconds": 30})
    await page.start()
    await page.until_problem("full")
    await check_accessibility(page.tab)
    stage.refusal = None
    await page.start()
    await stage.until_talking(page)
    await check_accessibility(page.tab)
    await page.button("Hang up").click()
    await expect(page.tab.locator("#words-note")).to_have_text("As it was written down")
    await check_accessibility(page.tab)
