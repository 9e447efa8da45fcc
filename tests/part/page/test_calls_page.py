"""The page of calls in a real browser, beside a service that answers and fails as it is told to."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta

from playwright.async_api import Browser, Page, expect

from testing.browser import PHONE, check_accessibility, take_pictures
from testing.calls_examples import HOSTILE, a_hostile_call, a_recovered_call
from testing.calls_stage import KEY, NOON, CallsStage, at, build_item, build_story, build_summary
from testing.waiting import eventually, stays

# Longer than the page waits before it asks for a call again.
REFRESH_MS = 5000
# Has a tab be hidden, or shown again.
LOOK = """(hidden) => {
    Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
}"""


async def test_the_list_says_what_is_bad(calls: CallsStage, tab: Page) -> None:
    await tab.goto(f"{calls.base_url}/calls")
    rows = tab.locator("tbody tr")
    await expect(rows).to_have_count(12)
    await expect(tab.locator("#summary")).to_have_text(
        "12 calls · 3 went wrong · 2 needed another agent · 2 slow · typical answer 910 ms"
    )
    bad = await rows.evaluate_all("rows => rows.map((row, place) => [place, row.dataset.level ?? 'good'])")
    assert [place for place, level in bad if level == "bad"] == [1, 3, 4, 7]
    assert [place for place, level in bad if level == "warn"] == [6]
    await expect(rows.nth(3)).to_contain_text("Failed: quota exceeded")
    await expect(rows.nth(4)).to_contain_text("slow")
    await expect(tab.locator("#tenant")).to_have_text("north")
    await take_pictures(tab, "calls-list", all_looks=True)
    await check_accessibility(tab)


async def test_a_search_is_in_the_address(calls: CallsStage, tab: Page) -> None:
    await tab.goto(f"{calls.base_url}/calls")
    await tab.get_by_label("Profile").select_option("bank")
    await tab.get_by_label("How it ended").select_option("The agent hung up")
    await expect(tab.get_by_label("How it ended")).to_have_value("ended_by_request")
    await tab.get_by_role("button", name="Search").click()
    await tab.wait_for_url("**/calls?profile=bank&reason=ended_by_request")
    await expect(tab.locator("tbody tr")).to_have_count(1)
    # Who is sent the address sees the same, with the same choices.
    await tab.reload()
    await expect(tab.locator("tbody tr")).to_have_count(1)
    await expect(tab.get_by_label("Profile")).to_have_value("bank")
    # The call leads back to what was searched for.
    calls.tell(build_story([], room=calls.calls[5]["room"]))
    await tab.locator("tbody a").click()
    await tab.get_by_role("link", name="← Calls").click()
    await tab.wait_for_url("**/calls?profile=bank&reason=ended_by_request")
    await tab.get_by_role("link", name="Clear").click()
    await expect(tab.locator("tbody tr")).to_have_count(12)


async def test_a_search_by_time_and_tenant(calls: CallsStage, browser: Browser) -> None:
    calls.sees_all = True
    context = await browser.new_context(timezone_id="Europe/Berlin", locale="en-GB")
    try:
        tab = await context.new_page()
        await tab.goto(f"{calls.base_url}/calls")
        await expect(tab.locator("#tenant")).to_have_text("All tenants")
        await expect(tab.get_by_label("From")).to_be_hidden()
        await tab.get_by_label("When").select_option("Between")
        await tab.get_by_label("From").fill("2026-11-28T10:00")
        await tab.get_by_label("To", exact=True).fill("2026-11-28T12:30")
        await tab.get_by_label("Tenant").fill("north")
        await tab.get_by_role("button", name="Search").click()
        await expect(tab.locator("tbody tr")).to_have_count(3)
        assert calls.queries[-1] == {
            "limit": "50",
            "from": "2026-11-28T09:00:00.000Z",
            "to": "2026-11-28T11:30:00.000Z",
            "tenant": "north",
        }
        await expect(tab.get_by_label("From")).to_have_value("2026-11-28T10:00")
        await expect(tab.locator("tbody tr").first).to_contain_text("12:00:00")
        await expect(tab.locator("tbody tr").first).to_contain_text("default · north")
    finally:
        await context.close()


async def test_older_calls_and_back(calls: CallsStage, tab: Page) -> None:
    calls.page_size = 5
    await tab.goto(f"{calls.base_url}/calls?profile=default")
    await expect(tab.locator("tbody tr")).to_have_count(5)
    await tab.get_by_role("link", name="Older").click()
    await expect(tab.locator("tbody tr").first).to_contain_text("room_0007")
    await expect(tab.get_by_text("No older calls")).to_be_visible()
    await tab.go_back()
    await expect(tab.locator("tbody tr").first).to_contain_text("room_0000")
    await tab.go_forward()
    await tab.get_by_role("link", name="Newest").click()
    await tab.wait_for_url("**/calls?profile=default")


async def test_the_whole_of_one_call(calls: CallsStage, tab: Page) -> None:
    await tab.goto(calls.tell(a_recovered_call()))
    await expect(tab.locator("h1")).to_have_text("The customer hung up")
    await expect(tab.locator(".title")).to_contain_text("1:02")
    await expect(tab.locator(".title")).to_contain_text("2 agents")
    said = tab.locator('[data-type="said"]')
    await expect(said).to_have_count(11)
    slow = said.nth(2)
    await expect(slow).to_contain_text("interrupted")
    await expect(slow.locator(".answer")).to_contain_text("2.3 s")
    assert [text.split("\n") for text in await slow.locator(".numbers div").all_inner_texts()] == [
        ["Transcription", "190 ms"],
        ["End of turn", "520 ms"],
        ["Chat model", "1.4 s"],
        ["Text-to-speech", "160 ms"],
        ["The rest", "250 ms"],
    ]
    await expect(tab.locator('[data-tone="bad"]').last).to_contain_text("Agent lost Out of memory. The agent")
    await expect(tab.locator(".facts")).to_contain_text("4bf92f3577b34da6a3ce929d0e0e4736")
    await expect(tab.locator(".facts")).to_contain_text("6,120 tokens in, 214 out")
    await expect(tab.get_by_role("link", name="12:00:00, Fri, 27 Nov 2026")).to_have_attribute(
        "href", re.compile(r"/calls/.+\?session=00000000-0000-4000-8000-000000000099$")
    )
    assert await tab.locator(".block").count() == 11
    assert await tab.locator(".wait").count() == 5
    assert await tab.locator(".flag").count() == 2
    await take_pictures(tab, "calls-call", all_looks=True, whole=True)

    tool = tab.locator(".tool").nth(1)
    await expect(tool).to_contain_text("failed")
    await expect(tool.locator("pre").last).to_be_hidden()
    await tool.locator("summary").click()
    await expect(tool.locator("pre").last).to_have_text("TimeoutError: the till does not answer")
    await check_accessibility(tab)

    await tab.get_by_label("Words only").check()
    await expect(tab.get_by_role("heading", name="Transcript")).to_be_visible()
    await expect(tab.locator(".measure:visible, .tool:visible, .mark:visible")).to_have_count(0)
    await expect(said.locator(".said:visible")).to_have_count(11)
    await tab.reload()
    await expect(tab.get_by_label("Words only")).to_be_checked()
    await take_pictures(tab, "calls-words")


async def test_what_is_said_is_never_markup(calls: CallsStage, tab: Page) -> None:
    refused: list[str] = []
    tab.on("console", lambda message: refused.append(message.text))
    await tab.goto(calls.tell(a_hostile_call()))
    await expect(tab.locator(".said .text").first).to_have_text(HOSTILE)
    await tab.locator(".tool summary").click()
    await expect(tab.locator(".tool pre").last).to_have_text(HOSTILE)
    await expect(tab.locator(".message")).to_have_text(HOSTILE)
    calls.calls = [build_summary(0, room=HOSTILE, profile=HOSTILE, tenant=HOSTILE, reason=HOSTILE, phase=HOSTILE)]
    calls.sees_all = True
    assert await made_of_words(tab) == []
    await tab.goto(f"{calls.base_url}/calls")
    await expect(tab.locator("tbody a")).to_have_text(HOSTILE)
    assert await made_of_words(tab) == []
    # A room's name is one part of an address, whatever is in it.
    calls.tell(build_story([build_item(1, 1, "user", "Hello.")], room=HOSTILE))
    await tab.locator("tbody a").click()
    await expect(tab.locator(".said .text")).to_have_text("Hello.")
    await expect(tab.locator(".name code")).to_have_text(HOSTILE)
    assert await made_of_words(tab) == []
    assert not [text for text in refused if "Content Security Policy" in text]


async def made_of_words(tab: Page) -> list[str]:
    """Returns what is on the page that no program of ours puts there."""
    assert await tab.evaluate("window.hacked === undefined")
    return list(
        await tab.evaluate(
            "[...document.querySelectorAll('#page img, #page script, #page iframe, [onerror]')].map(e => e.outerHTML)"
        )
    )


async def test_a_call_that_goes_on_is_asked_for_again(calls: CallsStage, tab: Page) -> None:
    whole = a_recovered_call()
    begun = {**whole, "phase": "Active", "reason": "Joined", "endedAt": None, "endReason": None, "attempts": 1}
    address = calls.tell({**begun, "items": whole["items"][:5], "events": whole["events"][:3]})
    await tab.clock.install(time=NOON + timedelta(seconds=12))
    await tab.goto(address)
    await expect(tab.locator("h1")).to_have_text("In progress")
    await expect(tab.locator('[data-type="said"]')).to_have_count(3)
    # What somebody has opened, and where they are, stays.
    summary = tab.locator(".tool summary")
    await summary.press("Enter")
    calls.tell(
        {
            **begun,
            "phase": "Recovering",
            "reason": "OutOfMemory",
            "items": whole["items"][:8],
            "events": whole["events"][:4],
        }
    )
    await tab.clock.fast_forward(REFRESH_MS)
    await expect(tab.locator('[data-type="said"]')).to_have_count(6)
    await expect(tab.locator("h1")).to_have_text("Without an agent")
    await expect(tab.locator("#announcer")).to_have_text("Without an agent")
    await expect(tab.locator(".tool").first).to_have_attribute("open", "")
    await expect(summary.first).to_be_focused()
    await take_pictures(tab, "calls-running")
    # Nothing is asked for while nobody looks.
    await tab.evaluate(LOOK, True)
    asked = calls.story_requests
    await tab.clock.fast_forward(REFRESH_MS)
    await stays(lambda: calls.story_requests == asked, 1, "a hidden tab asks")
    await tab.evaluate(LOOK, False)
    await eventually(lambda: calls.story_requests > asked, why="somebody looks again")
    # A service that is away for a while takes nothing from the screen.
    calls.fault = 503
    await tab.clock.fast_forward(REFRESH_MS)
    await expect(tab.locator("p.notice")).to_contain_text("What you see is older")
    await expect(tab.locator('[data-type="said"]')).to_have_count(6)
    calls.fault = None
    calls.tell(whole)
    await tab.clock.fast_forward(REFRESH_MS)
    await expect(tab.locator("h1")).to_have_text("The customer hung up")
    await expect(tab.locator("p.notice")).to_be_hidden()
    asked = calls.story_requests
    await tab.clock.fast_forward(REFRESH_MS)
    await stays(lambda: calls.story_requests == asked, 1, "a call that is over is asked for again")


async def test_who_is_signed_out_meanwhile_gets_back_to_the_call(calls: CallsStage, tab: Page) -> None:
    story = a_recovered_call()
    address = calls.tell({**story, "phase": "Active", "endedAt": None})
    await tab.clock.install()
    await tab.goto(address)
    await expect(tab.locator('[data-type="said"]').first).to_be_visible()
    calls.signed_in = False
    await tab.clock.fast_forward(REFRESH_MS)
    await expect(tab.locator("h1")).to_have_text("You are signed out")
    await expect(tab.locator('[data-type="said"]')).to_have_count(0)
    await check_accessibility(tab)
    await tab.get_by_role("link", name="Sign in").click()
    await sign_in(tab, "wrong")
    await expect(tab.locator("#wrong")).to_be_visible()
    await take_pictures(tab, "calls-sign-in")
    await check_accessibility(tab)
    await sign_in(tab, KEY)
    await tab.wait_for_url(address)
    await expect(tab.locator('[data-type="said"]').first).to_be_visible()
    await tab.get_by_role("button", name="Sign out").click()
    await expect(tab.get_by_text("You are signed out.")).to_be_visible()


async def sign_in(tab: Page, key: str) -> None:
    await tab.get_by_label("API key").fill(key)
    await tab.get_by_role("button", name="Sign in").click()


async def test_signing_in_needs_no_program(calls: CallsStage, browser: Browser) -> None:
    calls.signed_in = False
    context = await browser.new_context(java_script_enabled=False, viewport=PHONE)
    try:
        tab = await context.new_page()
        await tab.goto(f"{calls.base_url}/calls")
        await expect(tab.locator("#wrong")).to_be_hidden()
        await sign_in(tab, "wrong")
        await expect(tab.locator("#wrong")).to_be_visible()
        await sign_in(tab, KEY)
        assert tab.url == f"{calls.base_url}/calls"
        await expect(tab.get_by_role("button", name="Sign out")).to_be_visible()
    finally:
        await context.close()


async def test_what_keeps_a_call_from_being_shown(calls: CallsStage, tab: Page) -> None:
    for fault, title, way_out in (
        (401, "You are signed out", "Sign in"),
        (403, "This is not yours to see", "All calls"),
        (503, "The service refuses", "Try again"),
        (404, "No such call", "All calls"),
    ):
        calls.fault = fault
        await tab.goto(f"{calls.base_url}/calls/a-room")
        await expect(tab.get_by_role("heading", name=title)).to_be_focused()
        await expect(tab.get_by_role("link", name=way_out).or_(tab.get_by_role("button", name=way_out))).to_be_visible()
    await take_pictures(tab, "calls-missing")
    await check_accessibility(tab)


async def test_a_list_that_is_empty_or_cannot_be_read(calls: CallsStage, tab: Page) -> None:
    calls.fault = 503
    await tab.goto(f"{calls.base_url}/calls?room=nothing")
    await expect(tab.get_by_role("heading", name="The service refuses")).to_be_visible()
    calls.fault = None
    await tab.get_by_role("button", name="Try again").click()
    await expect(tab.get_by_role("heading", name="No such calls")).to_be_visible()
    await take_pictures(tab, "calls-empty")
    await check_accessibility(tab)
    calls.calls = []
    await tab.get_by_role("link", name="Show all calls").click()
    await expect(tab.get_by_role("heading", name="No calls yet")).to_be_visible()


async def test_the_keyboard_is_enough_to_read_a_call(calls: CallsStage, tab: Page) -> None:
    story = a_recovered_call()
    calls.tell(story)
    await tab.goto(f"{calls.base_url}/calls")
    first = tab.get_by_role("link", name=story["room"])
    await expect(first).to_be_visible()
    await press_until(tab, first.and_(tab.locator(":focus")).count)
    await tab.keyboard.press("Enter")
    await expect(tab.locator("h1")).to_have_text("The customer hung up")
    tool = tab.locator(".tool").first
    await press_until(tab, tool.locator("summary:focus").count)
    await tab.keyboard.press("Space")
    await expect(tool.locator("pre").first).to_be_visible()


async def press_until(tab: Page, reached: Callable[[], Awaitable[int]]) -> None:
    for _ in range(30):
        await tab.keyboard.press("Tab")
        if await reached():
            return
    raise AssertionError("Tab does not reach it")


async def test_a_long_call_is_drawn_at_once(calls: CallsStage, tab: Page) -> None:
    items = [build_item(n, 3 * n, "assistant" if n % 2 else "user", f"Sentence {n}.") for n in range(1200)]
    await tab.goto(calls.tell(build_story(items, endedAt=at(3600), startedAt=NOON.isoformat())))
    await expect(tab.locator('[data-type="said"]')).to_have_count(1200)
    await expect(tab.locator(".title")).to_contain_text("1:00:00")
